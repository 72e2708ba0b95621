"""Interleaved timing: what is compared runs side by side, so that drift of the machine hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Repetition = Callable[[], float]
"""Does the work and returns its own seconds."""

_REST_SECONDS = 0.05


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
    time_limit: float,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[float], None] = time.sleep,
) -> dict[str, Spread]:
    """Each case once to warm up, then all in turn, `rounds` times or until time_limit seconds have passed.

    Before each there is a rest: threads that spin for a while after their work would slow down the next case.
    A case that was measured and has had more than its share of the time sits out: the quick ones are repeated
    more often. Where the warm-up alone passes the limit, it is what counts.
    """
    start, share = clock(), time_limit / max(1, len(cases))
    taken: dict[str, list[float]] = {}
    spent: dict[str, float] = {}

    def run(name: str) -> None:
        # Threads of the case before may still spin.
        rest(_REST_SECONDS)
        begin = clock()
        taken.setdefault(name, []).append(cases[name]())
        spent[name] = spent.get(name, 0.0) + clock() - begin

    for name in cases:
        progress(f"{name}: warm-up")
        run(name)
    for turn in range(rounds):
        for name in cases:
            if clock() - start > time_limit:
                break
            # Every case gets one measurement beside its warm-up, however slow it is.
            if len(taken[name]) < 2 or spent[name] < share:
                progress(f"{name}: {turn + 1} of {rounds}")
                run(name)
    # The warm-up reads weights into caches and starts threads: it does not count.
    return {name: Spread.of(values[1:] or values) for name, values in taken.items()}
