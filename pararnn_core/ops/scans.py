"""Parallel scans over the time of packed sequences, on CUDA only. recurrence.py explains the letters."""

from dataclasses import dataclass

from torch import Tensor

from pararnn_core.ops.cells import cell_number
from pararnn_core.ops.library import native


@dataclass(frozen=True)
class ScanReport:
    """Newton's result for each sequence, on the device: (S,) each. Skipped and empty sequences have 0.

    residual: float32, max |f(h_{t-1}, x_t) - h_t| / (1 + |h_t|) of the states returned; NaN if not finite
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
    """Return the states (T, N, D) float32 of `recurrence`, solved by Newton's method. Not differentiable.

    bx: (T, G, D) float32 or bfloat16; tolerance: of updates and residuals, relative to 1 + |h|
    time_warps: warps for each channel, 1, 2 or 4, each with 128 steps; 0: the number that fills the chip
    Raises RuntimeError that names the argument.
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
    """Do the work of `recurrence_` by Newton's method; return the outputs (T, D) float32 and a report.

    bias: (G, D) float32, added to every row of bx in float32; time_warps: see `newton_recurrence`
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
    """Solve x_t = J_t x_{t-1} + source_t; in reverse x_t = source_t + v_{t+1} with v_t = J_t^T x_t.

    jacobian: (T, N, N, D), with D = 1 for matrices over all channels; source: (T, N, D)
    entry: (S, N, D), x before each sequence's first step, in reverse v after its last; None is 0
    All tensors are float32 and contiguous. Up to N = 4 the scan is parallel in time. A larger one goes step
    by step and is parallel in the N^2 products of a step.
    Returns x (T, N, D), and (S, N, D): the last x, in reverse the first v.
    """
    x, leaving = native().linear_scan(jacobian, source, entry, cu_seqlens, reverse)
    return x, leaving
