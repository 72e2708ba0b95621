"""Quantiles of recent times."""

from __future__ import annotations

import random

import pytest
from pararnn_server.metrics.recent_quantiles import WINDOW_SECONDS, RecentTimes, quantiles


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(clock: Clock, *seconds: float) -> RecentTimes:
    times = RecentTimes(clock)
    for each in seconds:
        times.observe(each, clock.now)
    return times


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 100.0])
def test_quantiles_are_within_4_percent_at_every_scale(scale: float) -> None:
    draw = random.Random(1)
    seconds = [scale * draw.lognormvariate(0, 1) for _ in range(2000)]
    found = quantiles([filled(Clock(), *seconds)])
    ordered = sorted(seconds)
    assert found.count == 2000
    assert found.p50 == pytest.approx(ordered[999], rel=0.045)
    assert found.p99 == pytest.approx(ordered[1979], rel=0.045)


def test_without_a_time_there_is_no_quantile() -> None:
    assert quantiles([]) == quantiles([RecentTimes(Clock())])
    assert quantiles([]).p50 is None
    assert quantiles([]).count == 0


def test_times_outside_the_buckets_count_in_the_outermost() -> None:
    found = quantiles([filled(Clock(), 0.0, -1.0, 1e9)])
    assert found.count == 3
    assert found.p50 is not None
    assert found.p50 < 2e-5


def test_several_series_count_together() -> None:
    clock = Clock()
    found = quantiles([filled(clock, *[0.001] * 60), filled(clock, *[1.0] * 40)])
    assert found.count == 100
    assert found.p50 == pytest.approx(0.001, rel=0.045)
    assert found.p99 == pytest.approx(1.0, rel=0.045)


def test_a_time_is_forgotten_after_one_to_two_windows() -> None:
    clock = Clock()
    times = filled(clock, 0.5)
    clock.now = WINDOW_SECONDS * 1.5
    assert quantiles([times]).count == 1
    times.observe(0.25, clock.now)
    assert quantiles([times]).count == 2
    clock.now = WINDOW_SECONDS * 2.6
    assert quantiles([times]).count == 1
    clock.now = WINDOW_SECONDS * 5
    assert quantiles([times]).count == 0
    times.observe(0.25, clock.now)
    assert quantiles([times]).count == 1
