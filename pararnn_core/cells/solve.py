"""Solving a cell's recurrence, with one reverse scan as its derivative whatever the solver was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from pararnn_core.newton import NewtonResult
from pararnn_core.scan import reverse_affine_scan
from pararnn_core.varlen import Tile, time_tiles

if TYPE_CHECKING:
    from pararnn_core.cells.base import Cell

Result = TypeVar("Result")
Solver = Callable[["Cell", Tensor, Tensor, Tensor], tuple[Tensor, NewtonResult | None]]
"""(cell, bx (T, G, D), initial_state (S, N, D), cu_seqlens) -> states (T, N, D) and how the solve went."""


def solve(solver: Solver, cell: Cell, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    """States (T, N, D), differentiable once in bx, initial_state and the cell's parameters.

    Parameters narrower than bx are widened to its dtype. Sets cell.last_solve.
    """
    parameters = [p.to(bx.dtype) for p in cell.parameters()]
    states: Tensor = _Solve.apply(solver, cell, cu_seqlens, bx, initial_state, *parameters)
    return states


class _WithParameters(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, task: Callable[[Cell], Result]) -> Result:
        return task(self.cell)


def _with_parameters(cell: Cell, parameters: Sequence[Tensor], task: Callable[[Cell], Result]) -> Result:
    """task(cell) while the cell's parameters are these tensors."""
    names = (f"cell.{name}" for name, _ in cell.named_parameters())
    result: Result = functional_call(_WithParameters(cell), dict(zip(names, parameters, strict=True)), (task,))
    return result


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, solver: Solver, cell: Cell, cu_seqlens: Tensor, bx: Tensor, initial_state: Tensor, *parameters: Tensor
    ) -> Tensor:
        states, result = _with_parameters(
            cell, parameters, lambda bound: solver(bound, bx, initial_state, cu_seqlens)
        )
        cell.last_solve = result
        ctx.cell, ctx.result = cell, result
        ctx.save_for_backward(cu_seqlens, bx, initial_state, states, *parameters)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.result is not None and not ctx.result.converged:
            raise RuntimeError(
                f"backward through a solve that did not converge ({ctx.result}): its states are not a trajectory of "
                "the cell; allow the sequential fallback or more iterations, and look for NaN or infinity in the input"
            )
        cu_seqlens, bx, initial_state, states, *parameters = ctx.saved_tensors
        adjoint = _Adjoint(bx, initial_state, states, [p.detach().requires_grad_() for p in parameters])
        _with_parameters(ctx.cell, adjoint.parameters, lambda bound: adjoint.run(bound, grad_states, cu_seqlens))
        return (None, None, None, adjoint.grad_bx, adjoint.grad_initial_state, *adjoint.grad_parameters)


class _Adjoint:
    """Gradients of a trajectory, from its last tile of time to its first."""

    def __init__(self, bx: Tensor, initial_state: Tensor, states: Tensor, parameters: list[Tensor]) -> None:
        self.bx, self.initial_state, self.states, self.parameters = bx, initial_state, states, parameters
        self.grad_bx = torch.zeros_like(bx)
        self.grad_initial_state = torch.zeros_like(initial_state)
        self.grad_parameters = [torch.zeros_like(p) for p in parameters]

    def run(self, cell: Cell, grad_states: Tensor, cu_seqlens: Tensor) -> None:
        """cell: with self.parameters as its parameters; grad_states: (T, N, D)."""
        layout = time_tiles(cu_seqlens, cell.tile_span)
        carry = torch.zeros_like(self.initial_state)
        for tile in reversed(tiles := layout.tiles()):
            previous = self.states[(tile.rows - 1).clamp_(min=0)]
            if tile is tiles[0]:
                previous[tile.first] = self.initial_state[layout.by_length[: tile.active]]
            carry[: tile.active] = self._tile(cell, tile, previous, grad_states[tile.rows], carry[: tile.active])
        self.grad_initial_state[layout.by_length] = carry

    def _tile(self, cell: Cell, tile: Tile, previous: Tensor, source: Tensor, carry: Tensor) -> Tensor:
        """Adds this tile's share to the gradients; returns the gradient of the states before it (active, N, D)."""
        bx = self.bx[tile.rows]
        source[tile.last] += carry
        costate = reverse_affine_scan(cell.linearize(previous, bx)[1], source, tile.starts)
        with torch.enable_grad():
            inputs = (previous.requires_grad_(), bx.requires_grad_(), *self.parameters)
            output = cell.advance(previous, bx)
        grads = torch.autograd.grad(output, inputs, costate, materialize_grads=True)
        self.grad_bx[tile.rows] = grads[1]
        for total, grad in zip(self.grad_parameters, grads[2:], strict=True):
            total += grad
        return grads[0][tile.first]
