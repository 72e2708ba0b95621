"""Interleaved timing: what is compared runs side by side, so that drift of the machine hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Repetition = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of `count` repetitions."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """values: at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def map(self, change: Callable[[float], float]) -> Spread:
        """The spread of change(value) for a monotonic change."""
        ends = sorted((change(self.low), change(self.high)))
        return Spread(change(self.median), ends[0], ends[1], self.count)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(
    cases: Mapping[str, Repetition],
    *,
    rounds: int,
    deadline: float,
    progress: Callable[[str], None],
) -> dict[str, Spread]:
    """Each case once to warm up, then all in turn, `rounds` times or until the deadline (time.monotonic()).

    A repetition returns its own seconds. Where the warm-up alone passes the deadline, it is what counts.
    """
    taken: dict[str, list[float]] = {}
    for name, repeat in cases.items():
        progress(f"{name}: warm-up")
        taken[name] = [repeat()]
    for turn in range(rounds):
        if time.monotonic() > deadline:
            break
        for name, repeat in cases.items():
            progress(f"{name}: {turn + 1} of {rounds}")
            taken[name].append(repeat())
    return {name: Spread.of(values[1:] or values) for name, values in taken.items()}
