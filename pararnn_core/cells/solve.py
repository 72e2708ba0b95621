"""Solving a cell's recurrence, with derivatives that do not depend on the solver.

The derivative of _Solve is one reverse scan, which _Adjoint computes, by a kernel where there is one. The
derivative of _Adjoint is written in differentiable torch. So second derivatives and forward mode work in
every mode, and first derivatives are as fast as the solver's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vjp

from pararnn_core.cells.adjoint import Gradients, Trajectory, adjoint
from pararnn_core.cells.bound import with_parameters
from pararnn_core.cells.probe import probe_step, warn_of_fallback
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.cells.tangent import tangent
from pararnn_core.solvers.newton import NewtonResult

Run = Callable[[Recurrence, Tensor, Tensor, Tensor], tuple[Tensor, NewtonResult | None]]
"""(cell, bx (T, G, D), initial_state (S, N, D), cu_seqlens) -> states (T, N, D), Newton's result or None."""
FirstDerivative = Callable[[Recurrence, Trajectory, Tensor], Gradients]
"""adjoint.adjoint, or a kernel with the same result."""


class Solver(NamedTuple):
    """A function for the states and one for the gradients of a loss. Neither needs to be differentiable."""

    run: Run
    adjoint: FirstDerivative = adjoint


class _Call:
    """One solve, with everything that its derivatives need except tensors."""

    def __init__(self, solver: Solver, cell: Recurrence) -> None:
        self.solver, self.cell = solver, cell
        self.result: NewtonResult | None = None

    def check_converged(self) -> None:
        if self.result is not None and not self.result.converged:
            raise RuntimeError(
                f"backward through a solve that did not converge: {self.result}. Its states are no "
                "trajectory of the cell; allow the sequential fallback or more iterations, or look for NaN "
                "in the input"
            )


def solve(solver: Solver, cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Return states (T, N, D), differentiable in bx, initial_state and the cell's parameters.

    Parameters narrower than bx are widened to its dtype. Sets cell.last_solve. Backward raises RuntimeError
    if the solve did not converge or the step's Jacobian has not the structure that the cell declares.
    """
    parameters = [p.to(bx.dtype) for p in cell.solved_parameters().values()]
    tensors = (cu_seqlens, bx, initial_state, *parameters)
    apply: Callable[..., Tensor] = _Solve.apply
    return apply(_Call(solver, cell), *tensors)


def _trajectory(
    states: Tensor, cu_seqlens: Tensor, bx: Tensor, initial_state: Tensor, *p: Tensor
) -> Trajectory:
    return Trajectory(cu_seqlens, states, bx, initial_state, p)


def _each(
    function: type[torch.autograd.Function], size: int, in_dims: tuple[int | None, ...], args: Any
) -> Any:
    """Apply the function to each entry of a vmapped dimension; return the outputs and their new dimension."""
    # Kernels cannot be vectorised by vmap, so each entry is a call of its own.
    results = [
        function.apply(  # type: ignore[no-untyped-call]  # torch has no types here
            *(arg if dim is None else arg.select(dim, i) for arg, dim in zip(args, in_dims, strict=True))
        )
        for i in range(size)
    ]
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> Tensor:
        cu_seqlens, bx, initial_state, *parameters = tensors
        cell = call.cell

        def run(bound: Recurrence) -> tuple[Tensor, NewtonResult | None]:
            probe_step(bound, bx)
            return call.solver.run(bound, bx, initial_state, cu_seqlens)

        states, call.result = with_parameters(cell, parameters, run)
        cell.last_solve = call.result
        if call.result is not None and call.result.fell_back_everywhere:
            warn_of_fallback(cell, call.result)
        return states

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.call, *tensors = inputs
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        ctx.call.check_converged()
        # A kernel that is called here directly would be a constant in second derivatives.
        gradients = _Adjoint.apply(ctx.call, grad_states, *ctx.saved_tensors)  # type: ignore[no-untyped-call]  # torch has no types here
        return (None, None, *gradients)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        ctx.call.check_converged()
        at = _trajectory(*ctx.saved_tensors)
        along = _filled(tangents[2:], (at.bx, at.initial_state, *at.parameters))
        with _advice_on_forward_mode():
            return tangent(ctx.call.cell, at, along)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return _each(_Solve, info.batch_size, in_dims, args)


class _Adjoint(torch.autograd.Function):
    """The adjoint: (call, grad_states, states, cu_seqlens, bx, initial_state, *parameters) -> Gradients."""

    @staticmethod
    def forward(call: _Call, grad_states: Tensor, *tensors: Tensor) -> Gradients:
        return call.solver.adjoint(call.cell, _trajectory(*tensors), grad_states)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
        ctx.call, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        gradients, leaves = _Adjoint._again(ctx)
        by_grad_states, by_states, *others = vjp(gradients, *leaves)[1](along)
        return (None, by_grad_states, by_states, None, *others)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Gradients:
        gradients, leaves = _Adjoint._again(ctx)
        changes = _filled((*tangents[1:3], *tangents[4:]), leaves)
        with _advice_on_forward_mode():
            change: Gradients = jvp(gradients, leaves, changes)[1]
        return change

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return _each(_Adjoint, info.batch_size, in_dims, args)

    @staticmethod
    def _again(ctx: Any) -> tuple[Callable[..., Gradients], tuple[Tensor, ...]]:
        """Return the adjoint as a differentiable function, and the arguments it was called with."""
        grad_states, states, cu_seqlens, *inputs = ctx.saved_tensors

        def gradients(grad_states: Tensor, states: Tensor, *inputs: Tensor) -> Gradients:
            at = _trajectory(states, cu_seqlens, *inputs)
            # The structure was checked by the first derivative.
            return adjoint(ctx.call.cell, at, grad_states, check_structure=False)

        return gradients, (grad_states, states, *inputs)


@contextmanager
def _advice_on_forward_mode() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "Nested forward mode" not in str(error):
            raise
        raise RuntimeError(
            "a cell's derivative takes forward mode itself, and torch.autograd.forward_ad cannot be nested: "
            "use torch.func.jvp"
        ) from error


def _filled(tangents: tuple[Tensor | None, ...], at: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Replace each tangent that torch leaves out by zeros."""
    return tuple(torch.zeros_like(x) if t is None else t for t, x in zip(tangents, at, strict=True))
