"""Comparison of a cell's Jacobian with central differences of its step, also where it declares zeros."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.cells.recurrence import Recurrence

_CHANGE = 1e-6
_RESOLVED = 1e-10
"""Smallest change of a value relative to it whose effect stands out from rounding in float64."""
_COLUMNS = 64
"""Columns computed at once. The number bounds the memory."""


class JacobianErrors(NamedTuple):
    """inside, outside: largest errors in and out of the declared structure, divided by max(largest, 1)

    largest: the largest entry, declared or measured
    """

    inside: float
    outside: float
    largest: float


@torch.no_grad()
def jacobian_errors(cell: Recurrence, h: Tensor, bx: Tensor) -> JacobianErrors:
    """Compare the Jacobian of these steps with differences. h: (n, N, D); bx: (n, G, D), float64."""
    declared = cell.linearize(h, bx)[1]
    inside = outside = declared.new_zeros(())
    scale = declared.abs().max()
    for row in range(len(h)):
        for columns in torch.split(torch.arange(h[0].numel(), device=h.device), _COLUMNS):
            wanted, known = _declared_columns(declared[row], columns, h.shape[1:])
            true, error = _closest_differences(cell, h[row], bx[row], columns, wanted)
            inside = torch.maximum(inside, error.where(known, 0).max())
            outside = torch.maximum(outside, error.where(~known, 0).max())
            scale = torch.maximum(scale, true.abs().max())
    divisor = scale.clamp(min=1)
    return JacobianErrors(float(inside / divisor), float(outside / divisor), float(scale))


def _closest_differences(
    cell: Recurrence, h: Tensor, bx: Tensor, columns: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Return columns (N*D, c) of the Jacobian of one step that are closest to `wanted`, and their errors.

    A small change loses its effect in the rounding of large states, a large one sees the curvature.
    A right derivative agrees with one of them, a wrong one with none.
    """
    sizes = h.flatten()[columns].abs()
    everywhere = torch.maximum(h.abs().max(), cell.advance(h[None], bx[None]).abs().max())
    smallest = (_RESOLVED * sizes).clamp(min=_CHANGE)
    changes = [smallest, _CHANGE * sizes.clamp(min=1), _CHANGE * everywhere.clamp(min=1).expand_as(sizes)]
    true = _differences(cell, h, bx, columns, smallest)
    error = (wanted - true).abs()
    for change in changes[1:]:
        if torch.equal(change, smallest):
            continue
        other = _differences(cell, h, bx, columns, change)
        closer = (wanted - other).abs() < error
        true = torch.where(closer, other, true)
        error = (wanted - true).abs()
    return true, error


def _differences(cell: Recurrence, h: Tensor, bx: Tensor, columns: Tensor, change: Tensor) -> Tensor:
    """Return columns (N*D, c) of the Jacobian of one step; h: (N, D); change of each column's state: (c,)."""
    moved = torch.zeros(len(columns), h.numel(), dtype=h.dtype, device=h.device)
    moved.scatter_(1, columns[:, None], change[:, None])
    moved = moved.view(-1, *h.shape)
    inputs = bx.expand(len(columns), *bx.shape)
    ahead, behind = cell.advance(h + moved, inputs), cell.advance(h - moved, inputs)
    return ((ahead - behind).flatten(1) / (2 * change[:, None])).T


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
