"""Comparison of a cell's Jacobian with central differences of its step, also where it declares zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.cells.recurrence import Recurrence

_CHANGE = 1e-6
_COLUMNS = 64
"""Columns computed at once. The number bounds the memory."""


@torch.no_grad()
def jacobian_errors(cell: Recurrence, h: Tensor, bx: Tensor) -> tuple[float, float]:
    """Return the largest error inside and the largest outside of the declared structure.

    Both are divided by the largest entry, or by 1 if that is smaller. h: (n, N, D); bx: (n, G, D), float64.
    """
    declared = cell.linearize(h, bx)[1]
    inside = outside = declared.new_zeros(())
    scale = declared.abs().max()
    for row in range(len(h)):
        for columns in torch.split(torch.arange(h[0].numel(), device=h.device), _COLUMNS):
            true = _differences(cell, h[row], bx[row], columns)
            wanted, known = _declared_columns(declared[row], columns, h.shape[1:])
            error = (wanted - true).abs()
            inside = torch.maximum(inside, error.where(known, 0).max())
            outside = torch.maximum(outside, error.where(~known, 0).max())
            scale = torch.maximum(scale, true.abs().max())
    scale = scale.clamp(min=1)
    return float(inside / scale), float(outside / scale)


def _differences(cell: Recurrence, h: Tensor, bx: Tensor, columns: Tensor) -> Tensor:
    """Return columns (N*D, c) of the Jacobian of one step; h: (N, D)."""
    moved = torch.zeros(len(columns), h.numel(), dtype=h.dtype, device=h.device)
    moved.scatter_(1, columns[:, None], _CHANGE)
    moved = moved.view(-1, *h.shape)
    inputs = bx.expand(len(columns), *bx.shape)
    ahead, behind = cell.advance(h + moved, inputs), cell.advance(h - moved, inputs)
    return ((ahead - behind) / (2 * _CHANGE)).flatten(1).T


def _declared_columns(declared: Tensor, columns: Tensor, sizes: torch.Size) -> tuple[Tensor, Tensor]:
    """Return columns (N*D, c) of a Jacobian (N*D, N*D) or (N, N, D), and a mask of the declared entries."""
    if declared.dim() == 2:
        wanted = declared[:, columns]
        return wanted, torch.ones_like(wanted, dtype=torch.bool)
    states, channels = sizes
    state, channel = columns // channels, columns % channels
    blocks = declared.new_zeros(states, channels, len(columns))
    known = torch.zeros_like(blocks, dtype=torch.bool)
    at = torch.arange(len(columns), device=columns.device)
    blocks[:, channel, at] = declared[:, state, channel]
    known[:, channel, at] = True
    return blocks.flatten(0, 1), known.flatten(0, 1)
