"""Solvers of a cell's recurrence that call CUDA kernels, with the reverse scan of their derivative."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.cells.adjoint import adjoint
from pararnn_core.cells.native import step_by_step, weights
from pararnn_core.cells.recurrence import Recurrence
from pararnn_core.cells.solve import Solver
from pararnn_core.ops.devices import multiprocessors
from pararnn_core.solvers.newton import NewtonResult, default_tolerance, largest_residual, newton_solve
from pararnn_core.solvers.solver_table import STEP_BY_STEP, read_table
from pararnn_core.solvers.varlen import Tile


def kernel_scan(jacobian: Tensor, source: Tensor, tile: Tile) -> Tensor:
    """Return the same as scan.scan_tile, computed by the kernel."""
    return _scan(jacobian, source, tile, reverse=False)


def kernel_reverse_scan(jacobian: Tensor, source: Tensor, tile: Tile) -> Tensor:
    """Return the same as scan.reverse_scan_tile, computed by the kernel."""
    return _scan(jacobian, source, tile, reverse=True)


def _scan(jacobian: Tensor, source: Tensor, tile: Tile, reverse: bool) -> Tensor:
    rows = source
    if jacobian.dim() == 3:
        # The kernel takes a dense Jacobian (n, N*D, N*D) as that of one channel with N*D states.
        jacobian, rows = jacobian.unsqueeze(3), source.reshape(len(source), -1, 1)
    # The host knows these bounds. To read them from `starts` would wait for the device in every tile.
    bounds = torch.cat((tile.first, tile.last[-1:] + 1)).int()
    x, _ = ops.linear_scan(jacobian.contiguous(), rows.contiguous(), None, bounds, reverse)
    return x.view_as(source)


def _newton_with_scan(
    cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor
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
    cell: Recurrence, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor, time_warps: int
) -> tuple[Tensor, NewtonResult]:
    # The kernel always solves units that do not converge step by step, also with cell.newton.fallback off.
    name, a, c = weights(cell)
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
    # Without sequences there is no maximum to report.
    if not len(report.residual):
        return states, NewtonResult(0, 0.0, True, 0, 0)
    residual = float(report.residual.max())
    return states, NewtonResult(
        iterations=int(report.iterations.max()),
        residual=residual,
        converged=residual <= largest_residual(bx.dtype, tol),
        fallbacks=int(report.fallbacks.sum()),
        units=_units(bx, cu_seqlens, time_warps),
    )


def _units(bx: Tensor, cu_seqlens: Tensor, time_warps: int) -> int:
    """Return the number of units (sequence, channel, tile) that the fused kernel solves independently."""
    lengths, channels = cu_seqlens.diff(), bx.shape[2]
    if time_warps == 0:
        # The same rule as in newton_scan.cu: the most warps with which all channels still fit on the chip.
        room = 16 * (multiprocessors(bx.device) if bx.device.type == "cuda" else 1)
        wanted = len(lengths) * channels
        time_warps = next(warps for warps in (4, 2, 1) if warps == 1 or wanted * warps <= room)
    tile = 128 * time_warps
    return int((lengths + tile - 1).div(tile, rounding_mode="floor").sum()) * channels


_KERNEL_ADJOINT = functools.partial(adjoint, reverse_scan=kernel_reverse_scan)


@functools.cache
def fused_solver(time_warps: int) -> Solver:
    """Return the fused solver with this number of time warps; 0 lets the kernel choose."""
    return Solver(functools.partial(_fused_newton, time_warps=time_warps), _KERNEL_ADJOINT)


PARALLEL_CUDA = Solver(_newton_with_scan, _KERNEL_ADJOINT)
PARALLEL_FUSED = fused_solver(0)
SEQUENTIAL = Solver(step_by_step, _KERNEL_ADJOINT)


def unsupported_reason(cell: Recurrence, bx: Tensor, fused: bool) -> str | None:
    """Return the reason why the kernels cannot solve this recurrence; None if they can.

    fused: asks for the kernels that are compiled for one cell
    """
    if bx.device.type != "cuda":
        return f"needs a CUDA device, and the input is on {bx.device}"
    if not ops.has_cuda_kernels():
        return "needs the CUDA kernels, which this build lacks"
    if bx.dtype != torch.float32:
        return f"computes in float32, and this cell in {bx.dtype}"
    if fused and cell.native_name is None:
        return f"supports only the cells of pararnn_core, and {type(cell).__name__} is not one of them"
    return None


def fastest(cell: Recurrence, bx: Tensor, cu_seqlens: Tensor) -> Solver:
    """Return the solver that the project's table names for this cell and these lengths."""
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
