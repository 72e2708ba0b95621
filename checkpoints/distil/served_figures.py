"""Figures of checkpoints on held-out text in the arithmetic that is served."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from checkpoints.distil.evaluate import WINDOWS, TextFigures
from checkpoints.distil.teacher import Teacher
from checkpoints.distil.token_streams import Stream
from checkpoints.distil.windows import SHORT, Windows
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

# Two windows' logits of a vocabulary of 49,152 are 100 MB for each model.
WINDOWS_AT_ONCE = 2
Models = Mapping[str, ParaRNNForCausalLM]


@torch.no_grad()
def served_text_figures(
    models: Models, teacher: Teacher, stream: Stream, windows: int = WINDOWS
) -> dict[str, TextFigures]:
    """Return the figures of each model on the first windows of a random order, all beside one teacher."""
    drawn = Windows(stream, SHORT, seed=0)
    count = min(windows, len(drawn.starts))
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in models}
    for first in range(0, count, WINDOWS_AT_ONCE):
        rows = torch.from_numpy(drawn.rows(first, min(WINDOWS_AT_ONCE, count - first))).long()
        inputs, targets = rows[:, :-1], rows[:, 1:].flatten()
        wanted = teacher.logits(teacher.hidden(inputs)).flatten(0, 1).float().log_softmax(-1)
        for name, model in models.items():
            sums[name] += _sums(served_logits(model, inputs).log_softmax(-1), wanted, targets)
    tokens = count * SHORT
    return {name: _figures(each / tokens, tokens) for name, each in sums.items()}


def served_logits(model: ParaRNNForCausalLM, inputs: Tensor) -> Tensor:
    """Return logits (B * T, V) of inputs (B, T), each read from a zero state."""
    batch, length = inputs.shape
    ends = torch.arange(0, batch * length + 1, length, dtype=torch.int32)
    slots = torch.arange(batch, dtype=torch.int32)
    rows = torch.arange(batch * length)
    return model.forward(inputs.flatten(), ends, slots, model.new_state(batch), logits_indices=rows)


def _sums(got: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
    """Return sums (3,) of KL and both losses. got, wanted: log-probabilities (N, V); targets: (N,)."""
    # A checkpoint may have ids that the teacher lacks; what they get is missing elsewhere.
    got = got[:, : wanted.shape[1]]
    right = targets[:, None]
    kl = (wanted.exp() * (wanted - got)).sum()
    return torch.stack((kl, -got.gather(1, right).sum(), -wanted.gather(1, right).sum())).double()


def _figures(means: Tensor, tokens: int) -> TextFigures:
    kl, student, teacher = means.tolist()
    return TextFigures(tokens, kl, student, teacher, math.exp(student - teacher))
