"""A cell's recurrence through the CUDA kernels, each with the reverse scan that its derivative takes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.cells.solve import Solver
from pararnn_core.devices import multiprocessors
from pararnn_core.newton import NewtonResult, default_tolerance, newton_solve
from pararnn_core.solver_table import STEP_BY_STEP, read_table

if TYPE_CHECKING:
    from pararnn_core.cells.base import Cell


def kernel_scan(jacobian: Tensor, source: Tensor, starts: Tensor) -> Tensor:
    """scan.affine_scan, by the kernel."""
    return _scan(jacobian, source, starts, reverse=False)


def kernel_reverse_scan(jacobian: Tensor, source: Tensor, starts: Tensor) -> Tensor:
    """scan.reverse_affine_scan, by the kernel."""
    return _scan(jacobian, source, starts, reverse=True)


def _scan(jacobian: Tensor, source: Tensor, starts: Tensor, reverse: bool) -> Tensor:
    """A dense Jacobian (n, N*D, N*D) is that of one channel with N*D states."""
    rows = source
    if jacobian.dim() == 3:
        jacobian, rows = jacobian.unsqueeze(3), source.reshape(len(source), -1, 1)
    x, _ = ops.linear_scan(jacobian.contiguous(), rows.contiguous(), None, _bounds(starts), reverse)
    return x.view_as(source)


def _bounds(starts: Tensor) -> Tensor:
    """starts (n,) bool, the first is moot -> cu_seqlens int32."""
    inner = starts[1:].nonzero().squeeze(1) + 1
    ends = torch.tensor([0, len(starts)], device=starts.device)
    return torch.cat((ends[:1], inner, ends[1:])).int()


def _weights(cell: Cell) -> tuple[str, Tensor, Tensor | None]:
    """What the kernels that know the cell are told: its name, a and c."""
    c = cast("Tensor", cell.C).contiguous() if cell.native_name == "lstm" else None
    return str(cell.native_name), cell.A.contiguous(), c


def _newton_with_scan(
    cell: Cell, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor
) -> tuple[Tensor, NewtonResult]:
    return newton_solve(
        cell.advance,
        cell.linearize,
        bx,
        initial_state,
        cu_seqlens,
        cell.tile_span,
        cell.newton,
        kernel_scan,
    )


def _fused_newton(
    cell: Cell, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor, time_warps: int
) -> tuple[Tensor, NewtonResult]:
    """What does not converge is always finished step by step, also with cell.newton.fallback off."""
    name, a, c = _weights(cell)
    options = cell.newton
    tol = default_tolerance(bx.dtype) if options.tol is None else options.tol
    states, report = ops.newton_recurrence(
        name,
        bx.contiguous(),
        a,
        c,
        initial_state.contiguous(),
        cu_seqlens.contiguous(),
        tol,
        options.max_iterations,
        time_warps,
    )
    if not len(report.residual):
        return states, NewtonResult(0, 0.0, True, 0)
    residual = report.residual.max()
    return states, NewtonResult(
        iterations=int(report.iterations.max()),
        residual=float(residual),
        converged=bool(residual.isfinite()),
        fallbacks=int(report.fallbacks.sum()),
    )


def _step_by_step(cell: Cell, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, None]:
    name, a, c = _weights(cell)
    tensors = (bx.contiguous(), a, c, initial_state.contiguous(), cu_seqlens.contiguous())
    return ops.recurrence(name, *tensors), None


@functools.cache
def fused_solver(time_warps: int) -> Solver:
    """time_warps: as of ops.newton_recurrence."""
    return Solver(functools.partial(_fused_newton, time_warps=time_warps), kernel_reverse_scan)


PARALLEL_CUDA = Solver(_newton_with_scan, kernel_reverse_scan)
PARALLEL_FUSED = fused_solver(0)
SEQUENTIAL = Solver(_step_by_step, kernel_reverse_scan)


def why_not(cell: Cell, bx: Tensor, fused: bool) -> str | None:
    """What keeps the kernels from this recurrence; None if nothing does. fused: those that know the cell."""
    if bx.device.type != "cuda":
        return f"needs a CUDA device, and the input is on {bx.device}"
    if not ops.has_cuda_kernels():
        return "needs the CUDA kernels, which this build lacks"
    if bx.dtype != torch.float32:
        return f"computes in float32, and this cell in {bx.dtype}"
    if fused and cell.native_name is None:
        return f"knows ParaGRU and ParaLSTM, and no {type(cell).__name__}"
    return None


def fastest(cell: Cell, bx: Tensor, cu_seqlens: Tensor) -> Solver:
    """Of the kernels that know the cell, by the project's table."""
    lengths = cu_seqlens.diff()
    longest = int(lengths.max()) if len(lengths) else 0
    time_warps = read_table().time_warps(
        str(cell.native_name),
        str(bx.dtype).removeprefix("torch."),
        len(lengths) * cell.state_dim,
        longest,
        multiprocessors(bx.device),
    )
    return SEQUENTIAL if time_warps == STEP_BY_STEP else fused_solver(time_warps)
