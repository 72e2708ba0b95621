"""All figures of a run so far, and ratios between figures of different parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pararnn_server.bench.timing import Spread

from benchmarks.gpu.instructions import Counts, least_seconds, read_counts
from benchmarks.gpu.limits import DeviceLimits
from benchmarks.gpu.model import DecodeFigure, PrefillFigure, StageProfile
from benchmarks.gpu.scans import LoopFigure, ScanFigure
from benchmarks.original import OriginalFigure


@dataclass(frozen=True)
class ServedFigure:
    """Figures of many streams at once; times in seconds.

    alone: tokens/s of the model on the same prompts and tokens, without server and sampling

    late_first: to the first token of one more prompt of late_tokens under that load, None if time was over.
    late_between_p99: between two tokens of the others while it was read.
    """

    label: str
    streams: int
    tokens_per_second: Spread
    alone: Spread
    first_p50: float
    between_p50: float
    between_p99: float
    late_tokens: int
    late_first: float | None
    late_between_p99: float | None

    @property
    def share(self) -> float:
        """Throughput as a share of the model's alone."""
        return self.tokens_per_second.median / self.alone.median


@dataclass
class Found:
    """All figures. counts: of the scans' instructions; notes: reasons for absent figures."""

    limits: DeviceLimits | None = None
    decodes: list[DecodeFigure] = field(default_factory=list)
    prefills: list[PrefillFigure] = field(default_factory=list)
    scans: list[ScanFigure] = field(default_factory=list)
    loops: list[LoopFigure] = field(default_factory=list)
    originals: list[OriginalFigure] = field(default_factory=list)
    served: list[ServedFigure] = field(default_factory=list)
    profiles: list[StageProfile] = field(default_factory=list)
    counts: Counts = field(default_factory=read_counts)
    notes: list[str] = field(default_factory=list)

    def copy_share(self, figure: ScanFigure, solver: str) -> float | None:
        """Return the scan's minimal traffic as a share of the copy bandwidth; None: not measured."""
        if self.limits is None or solver not in figure.seconds:
            return None
        return figure.shape.moved / figure.seconds[solver].median / self.limits.copy.median

    def bound_share(self, figure: ScanFigure, solver: str) -> float | None:
        """Return the share of the bound by issue slots and special-function units; None: unknown."""
        if self.limits is None or solver not in figure.seconds:
            return None
        processors, clock = self.limits.multiprocessors, self.limits.clock
        least = least_seconds(
            self.counts,
            solver,
            f"{figure.shape.cell} {figure.shape.dtype}",
            figure.shape.steps,
            figure.solves[solver].updates if solver in figure.solves else 0,
            None if processors is None or clock is None else processors * clock,
        )
        return None if least is None else least / figure.seconds[solver].median

    def decode(self, weights: str, batch: int) -> DecodeFigure | None:
        """Return the figure of a decode; None if it was not measured."""
        return next((each for each in self.decodes if (each.weights, each.batch) == (weights, batch)), None)
