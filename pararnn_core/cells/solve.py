"""Solving a cell's recurrence, with one reverse scan as its derivative whatever the solver was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from pararnn_core.cells.adjoint import Adjoint
from pararnn_core.newton import NewtonResult
from pararnn_core.scan import Scan, reverse_affine_scan

if TYPE_CHECKING:
    from pararnn_core.cells.base import Cell

Result = TypeVar("Result")
Run = Callable[["Cell", Tensor, Tensor, Tensor], tuple[Tensor, NewtonResult | None]]
"""(cell, bx (T, G, D), initial_state (S, N, D), cu_seqlens) -> states (T, N, D) and how the solve went."""


class Solver(NamedTuple):
    """A way to the states, and the scan that their derivative takes."""

    run: Run
    reverse_scan: Scan = reverse_affine_scan


def solve(solver: Solver, cell: Cell, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    """States (T, N, D), differentiable once in bx, initial_state and the cell's parameters.

    Parameters narrower than bx are widened to its dtype. Sets cell.last_solve. Backward raises RuntimeError
    where the solve did not converge or the step's Jacobian is not of the structure that the cell declares.
    """
    parameters = [p.to(bx.dtype) for p in cell.parameters()]
    tensors = (cu_seqlens, bx, initial_state, *parameters)
    states: Tensor = _Solve.apply(solver, cell, *tensors)  # type: ignore[no-untyped-call]  # torch has no types here
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
    named = dict(zip(names, parameters, strict=True))
    result: Result = functional_call(_WithParameters(cell), named, (task,))
    return result


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, solver: Solver, cell: Cell, *tensors: Tensor) -> Tensor:
        cu_seqlens, bx, initial_state, *parameters = tensors
        states, result = _with_parameters(
            cell, parameters, lambda bound: solver.run(bound, bx, initial_state, cu_seqlens)
        )
        cell.last_solve = result
        ctx.cell, ctx.result, ctx.reverse_scan = cell, result, solver.reverse_scan
        ctx.save_for_backward(states, *tensors)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.result is not None and not ctx.result.converged:
            raise RuntimeError(
                f"backward through a solve that did not converge: {ctx.result}. Its states are no trajectory "
                "of the cell; allow the sequential fallback or more iterations, or look for NaN in the input"
            )
        states, cu_seqlens, bx, initial_state, *parameters = ctx.saved_tensors
        leaves = [p.detach().requires_grad_() for p in parameters]
        adjoint = Adjoint(bx, initial_state, states, leaves, ctx.reverse_scan)
        _with_parameters(ctx.cell, leaves, lambda bound: adjoint.run(bound, grad_states, cu_seqlens))
        return (None, None, None, adjoint.grad_bx, adjoint.grad_initial_state, *adjoint.grad_parameters)
