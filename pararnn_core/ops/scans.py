"""Parallel scans over the time of packed sequences, on CUDA only. See recurrence.py for the letters."""

from dataclasses import dataclass

from torch import Tensor

from pararnn_core.ops.cells import cell_number
from pararnn_core.ops.library import native


@dataclass(frozen=True)
class ScanReport:
    """How Newton went, of each sequence, on the device: (S,) each. Skipped and empty sequences have 0.

    residual: float32, max |f(h_{t-1}, x_t) - h_t| / (1 + |h_t|) of what is returned; NaN if it is not finite
    iterations: int32, most updates that a unit (channel, tile of 128 steps for each time warp) took
    fallbacks: int32, units that did not converge and were finished step by step
    """

    residual: Tensor
    iterations: Tensor
    fallbacks: Tensor


def newton_recurrence(
    cell: str,
    bx: Tensor,
    a: Tensor,
    c: Tensor | None,
    initial_state: Tensor,
    cu_seqlens: Tensor,
    tolerance: float = 1e-6,
    max_iterations: int = 8,
    time_warps: int = 0,
) -> tuple[Tensor, ScanReport]:
    """All states of all sequences, (T, N, D) float32, as `recurrence` gives them. Not differentiable.

    bx: (T, G, D) float32 or bfloat16; tolerance: of updates and residuals, relative to 1 + |h|
    time_warps: 1, 2 or 4 warps solve a channel, 128 steps each at once; 0: what fills the chip
    Raises RuntimeError that names the bad argument.
    """
    kind = cell_number(cell)
    states, *report = native().newton_recurrence(
        kind, bx, a, c, initial_state, cu_seqlens, tolerance, max_iterations, time_warps
    )
    return states, ScanReport(*report)


def newton_recurrence_(
    cell: str,
    bx: Tensor,
    a: Tensor,
    c: Tensor | None,
    cu_seqlens: Tensor,
    slots: Tensor,
    has_initial_state: Tensor,
    state: Tensor,
    bias: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 8,
    time_warps: int = 0,
) -> tuple[Tensor, ScanReport]:
    """Outputs of all sequences, (T, D) float32; final states go to their slots, as with `recurrence_`.

    bias: (G, D) float32, added to every row of bx in float32; time_warps as with `newton_recurrence`
    """
    kind = cell_number(cell)
    y, *report = native().newton_recurrence_(
        kind,
        bx,
        a,
        c,
        cu_seqlens,
        slots,
        has_initial_state,
        state,
        bias,
        tolerance,
        max_iterations,
        time_warps,
    )
    return y, ScanReport(*report)


def linear_scan(
    jacobian: Tensor, source: Tensor, entry: Tensor | None, cu_seqlens: Tensor, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """x_t = J_t x_{t-1} + source_t; reverse: x_t = source_t + v_{t+1} with v_t = J_t^T x_t.

    jacobian: (T, N, N, D); source: (T, N, D); all float32 and contiguous. Any N: up to 4 parallel in time,
    beyond step after step, parallel in the N^2 products of a step. Matrices over all channels: D is 1.
    entry: (S, N, D), x before each sequence's first step, in reverse v after its last; None is 0
    Returns x (T, N, D) and (S, N, D) the last x, in reverse the first v.
    """
    x, leaving = native().linear_scan(jacobian, source, entry, cu_seqlens, reverse)
    return x, leaving
