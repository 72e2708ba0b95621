"""Random recurrences that are as hard for Newton's method as trained models. Solvers are measured on them.

With weights within +-0.5 and standard normal inputs Newton takes 4 updates. In the shipped models it takes
5 or 6, because their gates mostly keep the state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.cells import CELLS

WEIGHT_BOUND = 0.8
"""Bound of the drawn weights. Trained ones are within +-0.5, but their inputs resemble their neighbours."""


class _Gates(NamedTuple):
    """Mean and deviation of bx for each gate, over all layers of a shipped model on text."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


_GATES = {
    "gru": _Gates(mean=(-2.4, -0.2, 0.0), deviation=(1.9, 1.3, 0.8)),
    "lstm": _Gates(mean=(2.4, 0.2, 0.0), deviation=(1.8, 0.7, 0.8)),
}
"""Measured spreads by cell. Other cells get standard normal inputs: no model of theirs was measured."""


def draw_inputs(cell: str, tokens: int, channels: int, device: torch.device) -> Tensor:
    """Draw bx (tokens, G, channels) float32 for a cell of CELLS."""
    count = CELLS[cell].num_gates
    gates = _GATES.get(cell, _Gates((0.0,) * count, (1.0,) * count))
    mean, deviation = (torch.tensor(each, device=device)[:, None] for each in gates)
    return torch.randn(tokens, count, channels, device=device) * deviation + mean


def draw_weights(cell: str, channels: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Draw a (R, channels), and c (P, channels) of a cell with peepholes."""
    cell_type = CELLS[cell]
    peepholes = cell_type.num_peepholes
    a = _within_bound(cell_type.recurrent_rows(), channels, device)
    return a, _within_bound(peepholes, channels, device) if peepholes else None


def _within_bound(rows: int, channels: int, device: torch.device) -> Tensor:
    return (2 * torch.rand(rows, channels, device=device) - 1) * WEIGHT_BOUND
