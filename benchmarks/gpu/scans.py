"""The scans alone: every way through a recurrence, over a grid of shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pararnn_server.bench.timing import Spread

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.scan_problem import CELLS, ScanProblem, Shape, shapes
from benchmarks.gpu.sizes import Sizes
from pararnn_core.device.memory import free_bytes

_SECONDS_A_SHAPE = 1.5
_ROOM = 0.9
"""Of the memory that is free: for bx and y, a way's y being gone before the next one's comes."""


@dataclass(frozen=True)
class ScanFigure:
    """seconds by way: "sequential", "newton", "auto". updates, residual, fallbacks: of Newton, if it ran.

    updates: the most of any unit.
    """

    shape: Shape
    seconds: Mapping[str, Spread]
    updates: int | None = None
    residual: float | None = None
    fallbacks: int | None = None

    @property
    def best(self) -> float:
        """Seconds of the faster of the two ways, medians."""
        return min(self.seconds[way].median for way in ("sequential", "newton") if way in self.seconds)


@dataclass(frozen=True)
class LoopFigure:
    """A loop over time in torch beside what the model would take. Seconds."""

    shape: Shape
    loop: Spread
    auto: Spread

    @property
    def ratio(self) -> float:
        """How often faster."""
        return self.loop.median / self.auto.median


Left = Callable[[], float]
"""Seconds until everything must be over."""


def measure_scans(
    sizes: Sizes, clock: DeviceClock, figures: list[ScanFigure], notes: list[str], left: Left
) -> None:
    """Adds a figure for each shape; a note for each that does not fit, one for those that time left out."""
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
    """Of float32 bx at one length, every width and number of sequences."""
    for cell in CELLS:
        for channels in sizes.widths:
            for sequences in sizes.sequences:
                shape = Shape(cell, "float32", sequences, sizes.loop_length, channels)
                if left() <= 0:
                    notes.append(f"Left out for want of time: time loops in torch from {shape} on.")
                    return
                problem = ScanProblem(shape, clock.device)
                cases = {"loop": problem.time_loop, "auto": problem.ways()["auto"]}
                taken = clock.compare(
                    {name: clock.cold(work) for name, work in cases.items()}, sizes.rounds, _SECONDS_A_SHAPE
                )
                figures.append(LoopFigure(shape, taken["loop"], taken["auto"]))


def _measure(shape: Shape, clock: DeviceClock, rounds: int) -> ScanFigure:
    problem = ScanProblem(shape, clock.device)
    ways = problem.ways()
    taken = clock.compare({way: clock.cold(work) for way, work in ways.items()}, rounds, _SECONDS_A_SHAPE)
    if "newton" not in ways:
        return ScanFigure(shape, taken)
    report = problem.newton_report()
    return ScanFigure(
        shape,
        taken,
        updates=int(report.iterations.max()),
        residual=float(report.residual.max()),
        fallbacks=int(report.fallbacks.sum()),
    )


def _lacking(shape: Shape, device: torch.device) -> str | None:
    """Why it does not fit, if it does not."""
    if device.type != "cuda":
        return None
    free = free_bytes(device)
    if shape.moved <= _ROOM * free:
        return None
    return f"{shape.moved / 2**30:,.1f} GiB where {free / 2**30:,.1f} GiB are free"
