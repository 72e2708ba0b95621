"""The choice of a solver for the recurrences of a step, and Newton's report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.models.base import NewtonReport
from pararnn_core.ops import NativeLibraryMissing
from pararnn_core.ops.devices import multiprocessors
from pararnn_core.solvers.solver_table import STEP_BY_STEP, SolverTable, read_table

Recurrence = Callable[
    [str, Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor
]
"""(cell, bx (T, G, D), a, c, cu_seqlens, slots, has_initial_state, state, bias) -> y, as ops.recurrence_."""


class SolverChoice(Protocol):
    """The interface through which a model chooses a solver for each step."""

    def choose(self, channels: int, longest: int) -> Recurrence:
        """Return the solver. channels: of all sequences together; longest: tokens of the longest sequence."""

    def take_report(self) -> NewtonReport | None:
        """Return Newton's report since the last call; None if Newton solved nothing."""


def solvers_on(device: torch.device, cell: str, dtype: torch.dtype = torch.float32) -> SolverChoice:
    """Return the choice of solvers on this device. dtype: of bx."""
    return Solvers(cell, device, dtype) if device.type == "cuda" else StepByStep()


class Solvers:
    """The solvers of a CUDA device.

    Newton's reports stay on the device until take_report is called, which waits for the device.
    """

    def __init__(
        self,
        cell: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        table: SolverTable | None = None,
    ) -> None:
        """dtype: of bx; table: None takes the project's own."""
        if not ops.has_cuda_kernels():
            raise NativeLibraryMissing(
                "this build has no CUDA kernels: install it again where nvcc and a torch with CUDA are"
            )
        self._cell = cell
        self._dtype = str(dtype).removeprefix("torch.")
        self._table = table or read_table()
        self._multiprocessors = multiprocessors(device)
        self._tally = _Tally(device)

    def choose(self, channels: int, longest: int) -> Recurrence:
        """Return the solver that the table names for these sizes, see SolverChoice.choose."""
        warps = self._table.time_warps(self._cell, self._dtype, channels, longest, self._multiprocessors)
        return ops.recurrence_ if warps == STEP_BY_STEP else functools.partial(self._newton, warps)

    def take_report(self) -> NewtonReport | None:
        """Return Newton's report since the last call; None if Newton solved nothing."""
        return self._tally.take()

    def _newton(
        self,
        time_warps: int,
        cell: str,
        bx: Tensor,
        a: Tensor,
        c: Tensor | None,
        cu_seqlens: Tensor,
        slots: Tensor,
        has_initial_state: Tensor,
        state: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        tensors = (bx, a, c, cu_seqlens, slots, has_initial_state, state, bias)
        y, report = ops.newton_recurrence_(cell, *tensors, time_warps=time_warps)
        self._tally.add(report)
        return y


class StepByStep:
    """The only solver of a CPU: step by step."""

    def choose(self, channels: int, longest: int) -> Recurrence:
        """Return ops.recurrence_."""
        return ops.recurrence_

    def take_report(self) -> NewtonReport | None:
        """Return None: Newton solves nothing here."""
        return None


class _Tally:
    """Totals of Newton's reports, kept on the device. A residual that is NaN stays NaN."""

    def __init__(self, device: torch.device) -> None:
        self._iterations = torch.zeros((), dtype=torch.int32, device=device)
        self._residual = torch.zeros((), device=device)
        self._fallbacks = torch.zeros((), dtype=torch.int64, device=device)
        self._is_empty = True

    def add(self, report: ops.ScanReport) -> None:
        torch.maximum(self._iterations, report.iterations.amax(), out=self._iterations)
        # torch.maximum keeps NaN, where torch.fmax would drop it.
        torch.maximum(self._residual, report.residual.amax(), out=self._residual)
        self._fallbacks += report.fallbacks.sum()
        self._is_empty = False

    def take(self) -> NewtonReport | None:
        # Reading the totals waits for the device, which is in vain where Newton solved nothing.
        if self._is_empty:
            return None
        taken = NewtonReport(int(self._iterations), float(self._residual), int(self._fallbacks))
        for total in (self._iterations, self._residual, self._fallbacks):
            total.zero_()
        self._is_empty = True
        return taken
