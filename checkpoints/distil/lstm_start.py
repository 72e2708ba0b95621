"""Initial weights of a ParaLSTM student from the trained mixers of a ParaGRU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from checkpoints.distil.student import SMALL, mixer_parameters

# s(2) = 0.88: an output gate that is open and still has a slope.
OPEN = 2.0
# Row numbers of a GRU and of an LSTM.
UPDATE, RESET, GRU_CANDIDATE = 0, 1, 2
FORGET, OUTPUT, LSTM_CANDIDATE = 0, 1, 2


@torch.no_grad()
def start_from_gru(student: nn.Module, gru: Mapping[str, Tensor]) -> None:
    """Set the student's mixers. student: ParaLSTM; gru: mixers of a ParaGRU of the same sizes, by name.

    The cell state follows the GRU's state, except that the reset gate is constant, from its bias alone.
    The output gate is open and depends little on its input.
    """
    parameters = dict(mixer_parameters(student))
    for name, parameter in parameters.items():
        if ".cell." not in name:
            parameter.copy_(gru[name])
    for name in (name.removesuffix("C") for name in parameters if name.endswith(".cell.C")):
        a, weight, bias = (gru[name + part] for part in ("A", "B", "b"))
        # The forget gate is 1 - z. Its peephole has the update gate's weights with the sign changed.
        parameters[name + "A"].zero_()[LSTM_CANDIDATE] = a[GRU_CANDIDATE] * bias[RESET].sigmoid()
        parameters[name + "C"].zero_()[FORGET] = -a[UPDATE]
        of_lstm = parameters[name + "B"]
        of_lstm[:, :, FORGET] = -weight[:, :, UPDATE]
        of_lstm[:, :, OUTPUT] *= SMALL
        of_lstm[:, :, LSTM_CANDIDATE] = weight[:, :, GRU_CANDIDATE]
        biases = (-bias[UPDATE], torch.full_like(bias[OUTPUT], OPEN), bias[GRU_CANDIDATE])
        parameters[name + "b"].copy_(torch.stack(biases))
