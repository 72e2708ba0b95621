"""The directional derivative of a trajectory: one forward scan, tile by tile."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp

from pararnn_core.cells.adjoint import Trajectory
from pararnn_core.cells.bound import with_parameters
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.solvers.scan import affine_scan, apply_jacobian
from pararnn_core.solvers.varlen import time_tiles


def tangent(cell: Recurrence, at: Trajectory, along: tuple[Tensor, ...]) -> Tensor:
    """Return the derivative of the states (T, N, D) in the direction `along`.

    along: changes of bx, of initial_state and of each parameter
    """
    by_bx, by_initial, *by_parameters = along
    layout = time_tiles(at.cu_seqlens, cell.tile_span)
    entry = at.initial_state[layout.by_length]
    entry_change = by_initial[layout.by_length]
    changes = []
    for tile in layout.tiles():
        states, bx = at.states[tile.rows], at.bx[tile.rows]
        # At a sequence's first row roll brings in a state of another one, which is replaced.
        previous = states.roll(1, 0).index_copy(0, tile.first, entry[: tile.active])
        jacobian, source = _step(cell, at, previous, bx, (by_bx[tile.rows], *by_parameters))
        # The scan starts from zero, so the change at the tile's entry is part of its first source.
        first = apply_jacobian(jacobian[tile.first], entry_change[: tile.active])
        source = source.index_add(0, tile.first, first)
        change = affine_scan(jacobian, source, tile.starts)
        changes.append(change)
        entry, entry_change = states[tile.last], change[tile.last]
    if not changes:
        return torch.zeros_like(at.states)
    change = torch.cat(changes)
    return torch.zeros_like(change).index_copy(0, layout.order, change)


def _step(
    cell: Recurrence, at: Trajectory, previous: Tensor, bx: Tensor, along: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return, at each token of a tile, the step's Jacobian and its change through bx and the parameters."""

    def step(bx: Tensor, *parameters: Tensor) -> Tensor:
        return with_parameters(cell, parameters, lambda bound: bound.advance(previous, bx))

    def linearize(bound: Recurrence) -> Tensor:
        return bound.linearize(previous, bx)[1]

    change: Tensor = jvp(step, (bx, *at.parameters), along)[1]
    return with_parameters(cell, at.parameters, linearize), change
