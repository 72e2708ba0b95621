"""What solves the recurrences of a step, and how Newton went where it did."""

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
    """What a model asks before the recurrences of a step."""

    def choose(self, channels: int, longest: int) -> Recurrence:
        """channels: of all sequences together; longest: tokens of the longest sequence."""

    def take_report(self) -> NewtonReport | None:
        """None if Newton solved nothing since the last one was taken."""


def solvers_on(device: torch.device, cell: str, dtype: torch.dtype = torch.float32) -> SolverChoice:
    """The choice that the device leaves. dtype: of bx."""
    return Solvers(cell, device, dtype) if device.type == "cuda" else StepByStep()


class Solvers:
    """The ways through a recurrence on a CUDA device.

    What Newton reports stays on the device until somebody asks: asking waits for the device.
    """

    def __init__(
        self,
        cell: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        table: SolverTable | None = None,
    ) -> None:
        """dtype: of bx; table: None is that of the project."""
        if not ops.has_cuda_kernels():
            raise NativeLibraryMissing(
                "this build has no CUDA kernels: install again where nvcc is, with a torch that has CUDA"
            )
        self._cell = cell
        self._dtype = str(dtype).removeprefix("torch.")
        self._table = table or read_table()
        self._multiprocessors = multiprocessors(device)
        self._tally = _Tally(device)

    def choose(self, channels: int, longest: int) -> Recurrence:
        """channels: of all sequences together; longest: tokens of the longest sequence."""
        warps = self._table.time_warps(self._cell, self._dtype, channels, longest, self._multiprocessors)
        return ops.recurrence_ if warps == STEP_BY_STEP else functools.partial(self._newton, warps)

    def take_report(self) -> NewtonReport | None:
        """None if Newton solved nothing since the last one was taken."""
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
    """In the place of Solvers where there is but one way: on a CPU."""

    def choose(self, channels: int, longest: int) -> Recurrence:
        """Always the same."""
        return ops.recurrence_

    def take_report(self) -> NewtonReport | None:
        """Nothing to tell."""
        return None


class _Tally:
    """Sums and maxima on the device. A residual that is NaN stays."""

    def __init__(self, device: torch.device) -> None:
        self._iterations = torch.zeros((), dtype=torch.int32, device=device)
        self._residual = torch.zeros((), device=device)
        self._fallbacks = torch.zeros((), dtype=torch.int64, device=device)
        self._is_empty = True

    def add(self, report: ops.ScanReport) -> None:
        torch.maximum(self._iterations, report.iterations.amax(), out=self._iterations)
        torch.maximum(self._residual, report.residual.amax(), out=self._residual)
        self._fallbacks += report.fallbacks.sum()
        self._is_empty = False

    def take(self) -> NewtonReport | None:
        if self._is_empty:
            return None
        taken = NewtonReport(int(self._iterations), float(self._residual), int(self._fallbacks))
        for total in (self._iterations, self._residual, self._fallbacks):
            total.zero_()
        self._is_empty = True
        return taken
