"""The recurrence of the package's own cells, and its derivative, by the native CPU kernels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.cells.adjoint import Gradients, Trajectory
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.cells.solve import Solver


def weights(cell: Recurrence) -> tuple[str, Tensor, Tensor | None]:
    """Return the cell's name and its weights a and c for the kernels; c is None without peepholes."""
    c = cast("Tensor", cell.C).contiguous() if cell.num_peepholes else None
    # A kernel takes rows of a, so a cell without any gives it none.
    a = cell.A.contiguous() if cell.recurrent_rows() else no_rows(cell)
    return str(cell.native_name), a, c


def no_rows(cell: Recurrence) -> Tensor:
    """Return a (0, D) of a cell without recurrent weights, for the kernels."""
    return torch.empty(0, cell.state_dim, device=cell.get_parameter("b").device)


def step_by_step(
    cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor
) -> tuple[Tensor, None]:
    """Return the states of ops.recurrence, which computes them step by step."""
    name, a, c = weights(cell)
    tensors = (bx.contiguous(), a, c, initial_state.contiguous(), cu_seqlens.contiguous())
    return ops.recurrence(name, *tensors), None


def traced(cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Return the same states in code that torch.compile traces; differentiable once."""
    name, a, c = weights(cell)
    return ops.traced_recurrence(name, bx.contiguous(), a, c, initial_state, cu_seqlens)


def _backward(cell: Recurrence, at: Trajectory, grad_states: Tensor) -> Gradients:
    names = list(cell.solved_parameters())
    # These are the tensors of the solve; the cell's own may have changed since.
    given = dict(zip(names, at.parameters, strict=True))
    c = given["C"].contiguous() if cell.num_peepholes else None
    grad_bx, grad_a, grad_c, grad_initial = ops.recurrence_backward(
        str(cell.native_name),
        grad_states.contiguous(),
        at.states,
        at.bx.contiguous(),
        given["A"].contiguous() if "A" in given else no_rows(cell),
        c,
        at.initial_state.contiguous(),
        at.cu_seqlens.contiguous(),
    )
    known = {"A": grad_a, "C": grad_c}
    # A subclass may have parameters that the step does not read. Their gradients are zero.
    return grad_bx, grad_initial, *(known[n] if n in known else torch.zeros_like(given[n]) for n in names)


STEP_BY_STEP = Solver(step_by_step, _backward)
