from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.bench.timing import Spread, interleaved


class Clock:
    """Moves only when a case says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def case(self, name: str, answers: Iterator[float]) -> Callable[[], float]:
        def repeat() -> float:
            self.order.append(name)
            taken = next(answers)
            self.now += taken
            return taken

        return repeat


def _silent(_: str) -> None:
    """Nobody watches."""


def _constant(value: float) -> Iterator[float]:
    while True:
        yield value


def test_cases_run_in_turn_and_the_warm_up_does_not_count() -> None:
    clock = Clock()
    cases = {
        "a": clock.case("a", iter([100.0, 1.0, 2.0, 3.0])),
        "b": clock.case("b", iter([200.0, 4.0, 5.0, 6.0])),
    }
    taken = interleaved(cases, rounds=3, time_limit=math.inf, progress=_silent, clock=clock)
    assert clock.order == ["a", "b"] * 4
    assert taken == {"a": Spread(2.0, 1.0, 3.0, 3), "b": Spread(5.0, 4.0, 6.0, 3)}


def test_past_the_time_limit_the_warm_up_is_what_counts() -> None:
    clock = Clock()
    cases = {"a": clock.case("a", _constant(7.0))}
    taken = interleaved(cases, rounds=3, time_limit=6.0, progress=_silent, clock=clock)
    assert taken == {"a": Spread(7.0, 7.0, 7.0, 1)}


def test_a_slow_case_is_measured_once_and_leaves_the_time_to_the_quick_ones() -> None:
    clock = Clock()
    cases = {"slow": clock.case("slow", _constant(20.0)), "quick": clock.case("quick", _constant(1.0))}
    taken = interleaved(cases, rounds=30, time_limit=60.0, progress=_silent, clock=clock)
    assert taken["slow"].count == 1
    assert 15 <= taken["quick"].count <= 30
    assert clock.now <= 60.0 + 1.0


@given(values=st.lists(st.floats(0.1, 10), min_size=1, max_size=9))
def test_a_spread_of_rates_is_the_spread_of_the_times_turned_round(values: list[float]) -> None:
    rates = Spread.of(values).map(lambda seconds: 1 / seconds)
    assert (rates.low, rates.high) == (1 / max(values), 1 / min(values))
    assert rates.low <= rates.median <= rates.high
