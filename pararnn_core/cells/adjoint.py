"""The derivative of a trajectory: one reverse scan, tile by tile from its end to its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pararnn_core.scan import Scan, apply_jacobian, reverse_affine_scan, transpose
from pararnn_core.varlen import Tile, time_tiles

if TYPE_CHECKING:
    from pararnn_core.cells.base import Cell

STRUCTURE_TOLERANCE = 1e-3


class Adjoint:
    """Gradients of a loss by all that a trajectory depends on, given those by its states.

    bx, grad_bx: (T, G, D); initial_state, grad_initial_state: (S, N, D); states: (T, N, D), a true trajectory
    parameters, grad_parameters: the cell's, as leaves that require gradients
    reverse_scan: as of scan.reverse_affine_scan
    """

    def __init__(
        self,
        bx: Tensor,
        initial_state: Tensor,
        states: Tensor,
        parameters: list[Tensor],
        reverse_scan: Scan = reverse_affine_scan,
    ) -> None:
        self.reverse_scan = reverse_scan
        self.bx, self.initial_state, self.states, self.parameters = bx, initial_state, states, parameters
        self.grad_bx = torch.zeros_like(bx)
        self.grad_initial_state = torch.zeros_like(initial_state)
        self.grad_parameters = [torch.zeros_like(p) for p in parameters]

    def run(self, cell: Cell, grad_states: Tensor, cu_seqlens: Tensor) -> None:
        """Fills the gradients.  cell: with self.parameters as its parameters; grad_states: (T, N, D)."""
        layout = time_tiles(cu_seqlens, cell.tile_span)
        carry = torch.zeros_like(self.initial_state)
        for tile in reversed(tiles := layout.tiles()):
            previous = self.states[(tile.rows - 1).clamp_(min=0)]
            if tile is tiles[0]:
                previous[tile.first] = self.initial_state[layout.by_length[: tile.active]]
            source = grad_states[tile.rows]
            source[tile.last] += carry[: tile.active]
            carry[: tile.active] = self._tile(cell, tile, previous, source)
        self.grad_initial_state[layout.by_length] = carry

    def _tile(self, cell: Cell, tile: Tile, previous: Tensor, source: Tensor) -> Tensor:
        """Adds a tile's share to the gradients; returns that of the states before it (active, N, D).

        previous: (n, N, D), the state before each token; source: (n, N, D), the loss by each state directly
        """
        bx = self.bx[tile.rows]
        jacobian = cell.linearize(previous, bx)[1]
        costate = self.reverse_scan(jacobian, source, tile.starts)
        with torch.enable_grad():
            inputs = (previous.requires_grad_(), bx.requires_grad_(), *self.parameters)
            output = cell.advance(previous, bx)
        by_previous, by_bx, *by_parameters = torch.autograd.grad(
            output, inputs, costate, materialize_grads=True
        )
        _check_structure(cell, costate, apply_jacobian(transpose(jacobian), costate), by_previous)
        self.grad_bx[tile.rows] = by_bx
        for total, grad in zip(self.grad_parameters, by_parameters, strict=True):
            total += grad
        return by_previous[tile.first]


def _check_structure(cell: Cell, vector: Tensor, declared: Tensor, true: Tensor) -> None:
    """declared, true: J^T times the vector, with the Jacobian declared and by reverse mode."""
    # What is this small against the vector is mostly rounding.
    noise = STRUCTURE_TOLERANCE**2 * vector.abs().max()
    if bool((declared - true).abs().max() > STRUCTURE_TOLERANCE * true.abs().max() + noise):
        raise RuntimeError(
            f"{type(cell).__name__}: the Jacobian of recurrence_step is not {cell.jacobian_structure!r}; "
            "declare the right jacobian_structure"
        )
