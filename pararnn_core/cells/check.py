"""A self-check of a cell: its parallel solution and its derivatives against slow and plain ones."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from pararnn_core.cells.base import Cell
from pararnn_core.cells.cell_check import JACOBIAN_TOLERANCE, CellCheck
from pararnn_core.cells.inputs import check_x, full_initial_state
from pararnn_core.cells.jacobian_check import jacobian_errors
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.solvers.newton import NewtonOptions
from pararnn_core.solvers.varlen import equal_cu_seqlens
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

SEQUENCES, JACOBIANS, GROWTH = 2, 8, 10
_STATES_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def check_cell(
    cell: Cell,
    x: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    tokens: int = 64,
    seed: int = 0,
) -> CellCheck:
    """Solve the cell step by step and in parallel, and compare states, Jacobian and gradients.

    x: (B, T, Din) or (T, Din), as the cell takes it; None draws two sequences of `tokens` tokens from `seed`
    initial_state: (B, N, D); None draws one
    The cell, its last_solve and torch's global random generator do not change. If a step cannot be computed,
    in the cell's dtype or in float64, a TypeError, ValueError or RuntimeError names recurrence_step.
    """
    if isinstance(cell.B, QuantizedMatrix):
        raise ValueError("cell: is quantised and has no gradients; check the float cell it was made from")
    own, exact = deepcopy(cell), deepcopy(cell).double()
    inputs = _inputs(own, x, initial_state, tokens, seed)
    in_float64 = _Inputs(inputs.bx.double(), inputs.initial_state.double(), inputs.cu_seqlens)
    with warnings.catch_warnings():
        # The result already counts the fallbacks.
        warnings.filterwarnings("ignore", ".*Newton converged nowhere", RuntimeWarning)
        states = _solved(own, inputs, "parallel")
        result = own.last_solve
        assert result is not None
        by_steps, truth = _solved(own, inputs, "sequential"), _solved(exact, in_float64, "sequential")
        jacobian = jacobian_errors(exact, *_some_steps(truth, in_float64))
        gradient_error = None
        if max(jacobian.inside, jacobian.outside) <= JACOBIAN_TOLERANCE and result.converged:
            gradient_error = _gradient_error(exact, in_float64, seed)
    return CellCheck(
        cell=type(cell).__name__,
        jacobian_structure=cell.jacobian_structure,
        states_error=_error(states, by_steps),
        # The bound of P1: four times the error that steps in this dtype have against float64.
        states_bound=max(_STATES_TOLERANCE[states.dtype], 4 * _error(by_steps, truth)),
        jacobian_error=jacobian.inside,
        outside_structure=jacobian.outside,
        largest_derivative=jacobian.largest,
        largest_state=float(truth.abs().max()),
        state_limit=_state_limit(in_float64),
        own_linearize=type(cell).linearize is not Recurrence.linearize,
        gradient_error=gradient_error,
        iterations=result.iterations,
        converged=result.converged,
        fallbacks=result.fallbacks,
        units=result.units,
    )


@dataclass(frozen=True)
class _Inputs:
    """bx: (T, G, D); initial_state: (S, N, D); cu_seqlens: (S+1,)"""

    bx: Tensor
    initial_state: Tensor
    cu_seqlens: Tensor


@torch.no_grad()
def _inputs(cell: Cell, x: Tensor | None, start: Tensor | None, tokens: int, seed: int) -> _Inputs:
    if tokens < 1 or (x is not None and (x.dim() < 2 or x.shape[-2] < 1)):
        raise ValueError("tokens: a check needs at least one token in each sequence")
    # A generator of its own leaves torch's global one as it was.
    draw = torch.Generator().manual_seed(seed)
    if x is None:
        x = torch.randn(SEQUENCES, tokens, cell.input_dim, generator=draw).to(cell.b)
    check_x(x, cell.input_dim, cell.compute_dtype, None)
    cu_seqlens = equal_cu_seqlens(1 if x.dim() == 2 else x.shape[0], x.shape[-2], x.device)
    bx = cell.input_projection(x).flatten(0, -3)
    shape = (cu_seqlens.numel() - 1, cell.num_states, cell.state_dim)
    if start is None:
        start = (0.5 * torch.randn(shape, generator=draw)).to(bx)
    return _Inputs(bx, full_initial_state(start, bx, shape), cu_seqlens)


@torch.no_grad()
def _solved(cell: Cell, at: _Inputs, mode: str) -> Tensor:
    return cell.recurrence(at.bx, at.initial_state, at.cu_seqlens, mode)


def _state_limit(at: _Inputs) -> float:
    """Return GROWTH times the largest sum of the inputs. States that grow by a factor a step exceed it."""
    tokens = int(at.cu_seqlens.diff().max())
    largest = max(float(at.bx.detach().abs().max()), float(at.initial_state.detach().abs().max()), 1.0)
    return GROWTH * tokens * largest


def _some_steps(states: Tensor, at: _Inputs) -> tuple[Tensor, Tensor]:
    """Return h (n, N, D) and bx (n, G, D) of a few steps of the first sequence, its first step included."""
    end = int(at.cu_seqlens[1])
    previous = torch.cat((at.initial_state[:1], states[: end - 1]))
    rows = torch.linspace(0, end - 1, min(JACOBIANS, end)).long()
    return previous[rows], at.bx[rows]


def _gradient_error(cell: Cell, at: _Inputs, seed: int) -> float:
    cell.newton = NewtonOptions(cell.newton.max_iterations)
    parameters = list(cell.solved_parameters().values())
    leaves = [at.bx.requires_grad_(), at.initial_state.requires_grad_()]
    leaves += [parameter.requires_grad_() for parameter in parameters]
    states = cell.recurrence(at.bx, at.initial_state, at.cu_seqlens, "parallel")
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(states.shape, generator=draw, dtype=torch.float64).to(states)
    # A parameter that the step does not read has no gradient; it counts as zero.
    got = torch.autograd.grad(states, leaves, weights, materialize_grads=True)
    want = torch.autograd.grad(_plain_loop(cell, at), leaves, weights, materialize_grads=True)
    return max(_error(mine, true) for mine, true in zip(got, want, strict=True))


def _plain_loop(cell: Cell, at: _Inputs) -> Tensor:
    """Return the states (T, N, D) of equally long sequences, computed token by token for autograd."""
    sequences = at.initial_state.shape[0]
    h, states = at.initial_state, []
    for bx in at.bx.view(sequences, -1, *at.bx.shape[1:]).unbind(1):
        h = cell.advance(h, bx)
        states.append(h)
    return torch.stack(states, 1).flatten(0, 1)


def _error(value: Tensor, true: Tensor) -> float:
    """Return the largest difference divided by the largest true value; NaN if either tensor holds NaN."""
    if not value.numel():
        return 0.0
    # Values that are all zero must not divide by zero.
    scale = true.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float(((value.to(true) - true).abs().max() / scale).double())
