from __future__ import annotations

import math
import time

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving import percentile
from benchmarks.timing import Spread, interleaved

FOREVER = math.inf


def _silent(_: str) -> None:
    """Nobody watches."""


def test_cases_run_in_turn_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    answers = {"a": iter([100.0, 1.0, 2.0, 3.0]), "b": iter([200.0, 4.0, 5.0, 6.0])}

    def case(name: str) -> float:
        order.append(name)
        return next(answers[name])

    cases = {"a": lambda: case("a"), "b": lambda: case("b")}
    taken = interleaved(cases, rounds=3, deadline=FOREVER, progress=_silent)
    assert order == ["a", "b"] * 4
    assert taken == {"a": Spread(2.0, 1.0, 3.0, 3), "b": Spread(5.0, 4.0, 6.0, 3)}


def test_past_the_deadline_the_warm_up_is_what_counts() -> None:
    taken = interleaved({"a": lambda: 7.0}, rounds=3, deadline=time.monotonic() - 1, progress=_silent)
    assert taken == {"a": Spread(7.0, 7.0, 7.0, 1)}


@given(values=st.lists(st.floats(0.1, 10), min_size=1, max_size=9))
def test_a_spread_of_rates_is_the_spread_of_the_times_turned_round(values: list[float]) -> None:
    rates = Spread.of(values).map(lambda seconds: 1 / seconds)
    assert (rates.low, rates.high) == (1 / max(values), 1 / min(values))
    assert rates.low <= rates.median <= rates.high


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=300), percent=st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_enough_others_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
