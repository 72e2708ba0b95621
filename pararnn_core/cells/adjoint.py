"""The derivative of a trajectory: one reverse scan, tile by tile from its end to its start.

It is written in differentiable operations without side effects, so torch can differentiate it again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vjp

from pararnn_core.cells.bound import with_parameters
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.solvers.scan import Scan, apply_jacobian, reverse_scan_tile, transpose
from pararnn_core.solvers.varlen import Tile, time_tiles

STRUCTURE_TOLERANCE = 1e-3

Gradients = tuple[Tensor, ...]
"""Gradients of bx (T, G, D), of initial_state (S, N, D), and of each of cell.solved_parameters()."""


class Trajectory(NamedTuple):
    """A solved recurrence with its inputs.

    states: (T, N, D), a true trajectory; bx: (T, G, D); initial_state: (S, N, D); cu_seqlens: (S+1,) int32
    parameters: the values of cell.solved_parameters()
    """

    cu_seqlens: Tensor
    states: Tensor
    bx: Tensor
    initial_state: Tensor
    parameters: tuple[Tensor, ...]


def adjoint(
    cell: Recurrence,
    at: Trajectory,
    grad_states: Tensor,
    reverse_scan: Scan = reverse_scan_tile,
    check_structure: bool = True,
) -> Gradients:
    """Return the gradients of a loss whose gradient with respect to the states is grad_states (T, N, D).

    Raises RuntimeError if check_structure finds that the step's Jacobian has not the declared structure.
    The cells of this package are not checked. The host waits for a device at most once, at the end.
    """
    layout = time_tiles(at.cu_seqlens, cell.tile_span)
    carry = grad_states.new_zeros(at.initial_state.shape)
    by_bx, by_parameters = [], [torch.zeros_like(p) for p in at.parameters]
    wrong: list[Tensor] | None = [] if check_structure and cell.native_name is None else None
    for tile in reversed(tiles := layout.tiles()):
        # In the first tile this is a row of another sequence, which is replaced below.
        previous = at.states[(tile.rows - 1).clamp(min=0)]
        if tile is tiles[0]:
            previous = previous.index_copy(0, tile.first, at.initial_state[layout.by_length[: tile.active]])
        # Out of place, because torch may differentiate this again.
        source = grad_states[tile.rows].index_add(0, tile.last, carry[: tile.active])
        bx = at.bx[tile.rows]
        by_previous, by_inputs, *shares = _tile(
            cell, tile, previous, bx, at.parameters, source, reverse_scan, wrong
        )
        # Tiles are in reverse, so shorter sequences come later and keep their zeros until then.
        carry = torch.cat((by_previous[tile.first], carry[tile.active :]))
        by_bx.append(by_inputs)
        by_parameters = [total + share for total, share in zip(by_parameters, shares, strict=True)]
    if wrong and bool(torch.stack(wrong).any()):
        raise RuntimeError(
            f"{type(cell).__name__}: the Jacobian of recurrence_step is not {cell.jacobian_structure!r}; "
            "declare the right jacobian_structure"
        )
    grad_bx = _unsorted(torch.cat(by_bx[::-1]), layout.order) if by_bx else torch.zeros_like(at.bx)
    return grad_bx, _unsorted(carry, layout.by_length), *by_parameters


def _unsorted(rows: Tensor, order: Tensor) -> Tensor:
    """Move row i to row order[i]."""
    return torch.zeros_like(rows).index_copy(0, order, rows)


def _tile(
    cell: Recurrence,
    tile: Tile,
    previous: Tensor,
    bx: Tensor,
    parameters: tuple[Tensor, ...],
    source: Tensor,
    reverse_scan: Scan,
    wrong: list[Tensor] | None,
) -> Gradients:
    """Return a tile's gradients with respect to the state before each token, bx and the parameters.

    previous: (n, N, D), the state before each token
    source: (n, N, D), the part of each state's gradient that does not pass through a later state
    wrong: receives a flag, true where the Jacobian has not the declared structure; None skips the check
    """

    def step(previous: Tensor, bx: Tensor, *parameters: Tensor) -> Tensor:
        return with_parameters(cell, parameters, lambda bound: bound.advance(previous, bx))

    jacobian = with_parameters(cell, parameters, lambda bound: bound.linearize(previous, bx)[1])
    costate = reverse_scan(jacobian, source, tile)
    gradients: Gradients = vjp(step, previous, bx, *parameters)[1](costate)
    if wrong is not None:
        wrong.append(_differs(costate, apply_jacobian(transpose(jacobian), costate), gradients[0]))
    return gradients


def _differs(vector: Tensor, declared: Tensor, true: Tensor) -> Tensor:
    """Return true if two values of J^T vector differ: from the declared structure, and from reverse mode."""
    # Differences this small relative to the vector are mostly rounding.
    noise = STRUCTURE_TOLERANCE**2 * vector.abs().max()
    return (declared - true).abs().max() > STRUCTURE_TOLERANCE * true.abs().max() + noise
