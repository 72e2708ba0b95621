"""The cells' recurrences over packed sequences.

T tokens of S sequences laid end to end. A cell has D channels; each has G gates, N states, P peepholes
and R recurrent rows.
cells.native_cells lists the cells and their sizes. The states of "lstm" are c and h, those of the others h.
cu_seqlens: (S+1,) int32, sequence s has rows cu_seqlens[s] to cu_seqlens[s+1]; a sequence may be empty.

On CUDA all tensors are on one device and bx may be bfloat16. The values of cu_seqlens and slots are not
checked there, because reading them would wait for the device.
"""

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from pararnn_core.ops.cells import cell_number
from pararnn_core.ops.library import is_available, native


def recurrence(
    cell: str, bx: Tensor, a: Tensor, c: Tensor | None, initial_state: Tensor, cu_seqlens: Tensor
) -> Tensor:
    """Return the states (T, N, D) float32 of all sequences.

    cell: of native_cells; bx: (T, G, D); a: (R, D); c: (P, D), None without peepholes
    initial_state: (S, N, D); all tensors float32 and contiguous
    Differentiable once, in reverse mode; a cell has no such limit.
    Raises RuntimeError that names the argument.
    """
    kind = cell_number(cell)
    for name, tensor in (("bx", bx), ("a", a), ("c", c), ("initial_state", initial_state)):
        # The dispatcher would drop the tangent silently.
        if tensor is not None and _has_tangent(tensor):
            raise RuntimeError(
                f"{name}: this operation has no forward-mode derivative; use a cell of pararnn_core"
            )
    states: Tensor = native().recurrence(kind, bx, a, c, initial_state, cu_seqlens)
    return states


def traced_recurrence(
    cell: str, bx: Tensor, a: Tensor, c: Tensor | None, initial_state: Tensor, cu_seqlens: Tensor
) -> Tensor:
    """Return `recurrence` without its check for tangents, which a compiler cannot trace.

    Call prepare_tracing first.
    """
    states: Tensor = torch.ops.pararnn.recurrence(_number(cell), bx, a, c, initial_state, cu_seqlens)
    return states


def _number(cell: str) -> int:
    return cell_number(cell)


def prepare_tracing() -> None:
    """Load the library and tell a compiler to follow neither the search for it nor the calls into it.

    This imports torch's compiler, which serving does not need.
    """
    native()
    for constant in (is_available, _number):
        torch.compiler.assume_constant_result(constant)  # type: ignore[no-untyped-call]  # torch has no types


def _has_tangent(tensor: Tensor) -> bool:
    return unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]  # torch has no types here


def recurrence_backward(
    cell: str,
    grad_states: Tensor,
    states: Tensor,
    bx: Tensor,
    a: Tensor,
    c: Tensor | None,
    initial_state: Tensor,
    cu_seqlens: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of bx, a, c and initial_state; that of c has no rows without peepholes.

    grad_states: (T, N, D), the gradient of the states; states: (T, N, D), the result of `recurrence`
    All tensors are float32 and contiguous. Not differentiable.
    """
    kind = cell_number(cell)
    gradients: tuple[Tensor, Tensor, Tensor, Tensor] = native().recurrence_backward(
        kind, grad_states, states, bx, a, c, initial_state, cu_seqlens
    )
    return gradients


def recurrence_(
    cell: str,
    bx: Tensor,
    a: Tensor,
    c: Tensor | None,
    cu_seqlens: Tensor,
    slots: Tensor,
    has_initial_state: Tensor,
    state: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Return the outputs y (T, D) float32, and write the final state of sequence s to state[slots[s]].

    bx: (T, G, D) float32 or bfloat16; bias: (G, D) float32, added to every row of bx in float32
    slots: (S,) int32, -1 skips the sequence (its rows of the result are 0)
    has_initial_state: (S,) bool, False starts from zeros
    state: (slots, N, D) float32, the last dimension contiguous
    Raises RuntimeError for a slot that is out of range or used twice.
    """
    kind = cell_number(cell)
    if bx.device.type == "cpu":
        bx, bias = _with_bias(bx, bias), None
    y: Tensor = native().recurrence_(kind, bx, a, c, cu_seqlens, slots, has_initial_state, state, bias)
    return y


def _with_bias(bx: Tensor, bias: Tensor | None) -> Tensor:
    """Return bx in float32 with the bias added, because the CPU's kernel does neither."""
    wide = bx.float() if bx.dtype == torch.bfloat16 else bx
    if bias is None:
        return wide
    # The sum would broadcast some wrong shapes without an error.
    if bias.shape != bx.shape[1:] or bias.dtype != torch.float32:
        raise RuntimeError(
            f"bias: expected float32 of shape {tuple(bx.shape[1:])}, got {bias.dtype} "
            f"of shape {tuple(bias.shape)}"
        )
    return wide + bias
