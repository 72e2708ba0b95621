"""The scans alone: all solvers of a recurrence, over a grid of shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pararnn_server.bench.timing import Spread

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.scan_problem import (
    AUTO,
    MEASURED_CELLS,
    NEWTON_WARPS,
    ScanProblem,
    Shape,
    shapes,
    solver_name,
)
from benchmarks.gpu.sizes import Sizes
from pararnn_core.models.pararnn.device_memory import free_bytes
from pararnn_core.ops import ScanReport

_SECONDS_A_SHAPE = 2.5
_ROOM = 0.9
"""Share of the free memory for bx and y. A solver's y is freed before the next one runs."""


@dataclass(frozen=True)
class Solve:
    """Newton's result. updates: most updates of a unit; fallbacks: units that were solved step by step."""

    updates: int
    residual: float
    fallbacks: int


@dataclass(frozen=True)
class ScanFigure:
    """A measurement. seconds: by solver and of AUTO, which is `choice`; solves: of Newton's solvers."""

    shape: Shape
    seconds: Mapping[str, Spread]
    choice: str
    solves: Mapping[str, Solve]

    @property
    def newton(self) -> str | None:
        """Name of the fastest Newton solver."""
        return min(self.solves, key=lambda solver: self.seconds[solver].median, default=None)

    @property
    def best(self) -> float:
        """Median seconds of the fastest solver."""
        return min(spread.median for solver, spread in self.seconds.items() if solver != AUTO)


@dataclass(frozen=True)
class LoopFigure:
    """A loop over time in torch beside the model's solver, in seconds."""

    shape: Shape
    loop: Spread
    auto: Spread

    @property
    def ratio(self) -> float:
        """Factor by which the model's solver is faster."""
        return self.loop.median / self.auto.median


Left = Callable[[], float]
"""Function that returns the seconds left."""


def measure_scans(
    sizes: Sizes, clock: DeviceClock, figures: list[ScanFigure], notes: list[str], left: Left
) -> None:
    """Measure all shapes. Shapes that do not fit, or that there is no time for, get a note."""
    all_shapes = shapes(sizes)
    for index, shape in enumerate(all_shapes):
        if left() <= 0:
            notes.append(f"Left out for want of time: {len(all_shapes) - index} scans from {shape} on.")
            return
        if (lacking := _lacking(shape, clock.device)) is not None:
            notes.append(f"Left out for want of memory: {shape}, {lacking}.")
            continue
        figures.append(_measure(shape, clock, sizes.rounds))


def measure_loops(
    sizes: Sizes, clock: DeviceClock, figures: list[LoopFigure], notes: list[str], left: Left
) -> None:
    """Measure the loop with float32 bx at one length, for every width and number of sequences."""
    for cell in MEASURED_CELLS:
        for channels in sizes.widths:
            for sequences in sizes.sequences:
                shape = Shape(cell, "float32", sequences, sizes.loop_length, channels)
                if left() <= 0:
                    notes.append(f"Left out for want of time: time loops in torch from {shape} on.")
                    return
                problem = ScanProblem(shape, clock.device)
                cases = {"loop": problem.time_loop, AUTO: problem.solvers()[AUTO]}
                taken = clock.compare(
                    {name: clock.cold(work) for name, work in cases.items()}, sizes.rounds, _SECONDS_A_SHAPE
                )
                figures.append(LoopFigure(shape, taken["loop"], taken[AUTO]))


def _measure(shape: Shape, clock: DeviceClock, rounds: int) -> ScanFigure:
    problem = ScanProblem(shape, clock.device)
    solvers = problem.solvers()
    taken = clock.compare(
        {solver: clock.cold(work) for solver, work in solvers.items()}, rounds, _SECONDS_A_SHAPE
    )
    solves = {solver_name(n): _solve(problem.newton(n)) for n in NEWTON_WARPS if solver_name(n) in solvers}
    return ScanFigure(shape, taken, problem.choice, solves)


def _solve(report: ScanReport) -> Solve:
    return Solve(int(report.iterations.max()), float(report.residual.max()), int(report.fallbacks.sum()))


def _lacking(shape: Shape, device: torch.device) -> str | None:
    """Return the reason why a shape does not fit; None if it does."""
    if device.type != "cuda":
        return None
    free = free_bytes(device)
    if shape.moved <= _ROOM * free:
        return None
    return f"{shape.moved / 2**30:,.1f} GiB where {free / 2**30:,.1f} GiB are free"
