"""The start of a ParaLSTM student: the trained mixers of a ParaGRU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from checkpoints.distil.student import SMALL, mixer_parameters

# s(2) = 0.88: an output gate that is open, and whose slope is not yet zero.
OPEN = 2.0
# Rows of a GRU and of an LSTM.
UPDATE, RESET, GRU_CANDIDATE = 0, 1, 2
FORGET, OUTPUT, LSTM_CANDIDATE = 0, 1, 2


@torch.no_grad()
def start_from_gru(student: nn.Module, gru: Mapping[str, Tensor]) -> None:
    """student: ParaLSTM; gru: mixers of a ParaGRU of the same sizes, by name.

    The cell state does what the GRU's state did, but for its reset gate, which stays at what its bias gives.
    The output gate is open and hardly looks at its input.
    """
    parameters = dict(mixer_parameters(student))
    for name, parameter in parameters.items():
        if ".cell." not in name:
            parameter.copy_(gru[name])
    for name in (name.removesuffix("C") for name in parameters if name.endswith(".cell.C")):
        a, weight, bias = (gru[name + part] for part in ("A", "B", "b"))
        # The forget gate is 1 - z, and sees the cell state as the update gate saw the state.
        parameters[name + "A"].zero_()[LSTM_CANDIDATE] = a[GRU_CANDIDATE] * bias[RESET].sigmoid()
        parameters[name + "C"].zero_()[FORGET] = -a[UPDATE]
        of_lstm = parameters[name + "B"]
        of_lstm[:, :, FORGET] = -weight[:, :, UPDATE]
        of_lstm[:, :, OUTPUT] *= SMALL
        of_lstm[:, :, LSTM_CANDIDATE] = weight[:, :, GRU_CANDIDATE]
        biases = (-bias[UPDATE], torch.full_like(bias[OUTPUT], OPEN), bias[GRU_CANDIDATE])
        parameters[name + "b"].copy_(torch.stack(biases))
