"""Gradients and fake tensors of the native operations, registered once the library is loaded."""

from typing import Any

import torch
from torch import Tensor

Gradients = tuple[None, Tensor, Tensor, Tensor | None, Tensor, None]


def _setup_recurrence(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    cell, *tensors = inputs
    ctx.cell = cell
    ctx.save_for_backward(output, *tensors)


def _backward_recurrence(ctx: Any, grad_states: Tensor) -> Gradients:
    states, bx, a, c, initial_state, cu_seqlens = ctx.saved_tensors
    # Autograd may pass an expanded gradient, such as that of a sum; the kernel needs contiguous memory.
    grad_bx, grad_a, grad_c, grad_initial = torch.ops.pararnn.recurrence_backward(
        ctx.cell, grad_states.contiguous(), states, bx, a, c, initial_state, cu_seqlens
    )
    return None, grad_bx, grad_a, None if c is None else grad_c, grad_initial, None


def _refuse_second_derivative(ctx: Any, *grads: Tensor) -> None:
    # once_differentiable would not notice this if the gradient of the states needs no gradient itself.
    raise RuntimeError(
        "the native recurrence is differentiable once; differentiate twice through a cell of pararnn_core"
    )


def _fake_recurrence(
    cell: int, bx: Tensor, a: Tensor, c: Tensor | None, initial_state: Tensor, cu_seqlens: Tensor
) -> Tensor:
    return bx.new_empty((bx.shape[0], initial_state.shape[1], bx.shape[2]))


def _fake_recurrence_backward(
    cell: int,
    grad_states: Tensor,
    states: Tensor,
    bx: Tensor,
    a: Tensor,
    c: Tensor | None,
    initial_state: Tensor,
    cu_seqlens: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    peepholes = 0 if c is None else c.shape[0]
    return (
        torch.empty_like(bx),
        torch.empty_like(a),
        a.new_empty((peepholes, a.shape[1])),
        torch.empty_like(initial_state),
    )


def register() -> None:
    """Register gradients and fake tensors. Call it once, after the library is loaded."""
    torch.library.register_autograd(
        "pararnn::recurrence", _backward_recurrence, setup_context=_setup_recurrence
    )
    torch.library.register_autograd("pararnn::recurrence_backward", _refuse_second_derivative)
    torch.library.register_fake("pararnn::recurrence", _fake_recurrence)
    torch.library.register_fake("pararnn::recurrence_backward", _fake_recurrence_backward)
