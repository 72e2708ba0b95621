"""Quantiles of recent times, from counts in buckets of constant relative width."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FIRST_SECONDS = 1e-5
GROWTH = 1.08
NUM_BUCKETS = 288
"""The last bucket begins at ten hours."""
WINDOW_SECONDS = 60.0
_SCALE = 1.0 / math.log(GROWTH)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds, within 4 %; None where nothing was observed. count: observations they are of."""

    count: int
    p50: float | None
    p99: float | None


class RecentTimes:
    """Times of the last one to two minutes, in constant memory. One thread observes, any thread reads.

    A reader beside the observing thread may miss its last observation.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts = _no_counts()
        self._older = _no_counts()
        self._window_end = clock() + WINDOW_SECONDS

    def observe(self, seconds: float, now: float) -> None:
        """Count one time. now: of the clock."""
        if now >= self._window_end:
            self._turn(now)
        place = int(math.log(seconds / FIRST_SECONDS) * _SCALE) if seconds > FIRST_SECONDS else 0
        self._counts[min(place, NUM_BUCKETS - 1)] += 1

    def counts(self) -> list[int]:
        """Return the counts of all buckets over both windows."""
        passed = self._clock() - self._window_end
        if passed >= WINDOW_SECONDS:
            return [0] * NUM_BUCKETS
        # Nothing was observed since the window ended: it is the older one now.
        older = () if passed >= 0 else self._older
        return [a + b for a, b in zip(self._counts, older, strict=True)] if older else list(self._counts)

    def _turn(self, now: float) -> None:
        is_recent = now < self._window_end + WINDOW_SECONDS
        self._older = self._counts if is_recent else _no_counts()
        self._counts, self._window_end = _no_counts(), now + WINDOW_SECONDS


def quantiles(times: Iterable[RecentTimes]) -> Quantiles:
    """Return the quantiles over several series together."""
    totals = [sum(column) for column in zip(*(each.counts() for each in times), strict=True)]
    return Quantiles(sum(totals), _quantile(totals, 0.5), _quantile(totals, 0.99))


def _quantile(counts: list[int], fraction: float) -> float | None:
    wanted, seen = fraction * sum(counts), 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            # The geometric middle of the bucket.
            return float(f"{FIRST_SECONDS * GROWTH ** (place + 0.5):.3g}")
    return None


def _no_counts() -> array[int]:
    return array("L", bytes(array("L").itemsize * NUM_BUCKETS))
