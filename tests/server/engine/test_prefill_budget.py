"""The prefill budget, learned from the seconds of earlier steps, without a model or a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.engine.prefill_budget import FIRST_ROWS, PrefillBudget


class Machine:
    """Steps whose seconds are a straight line in their rows."""

    def __init__(self, step: float, row: float, slowdown: float = 2.0) -> None:
        self.step, self.row = step, row
        self.pace = PrefillBudget(slowdown)

    def quiet(self, decodes: int) -> float:
        return self.step + self.row * decodes

    def run(self, decodes: int, rows: int, times: int = 1, late: float = 1.0) -> None:
        for _ in range(times):
            self.pace.observe(decodes, rows, late * self.quiet(decodes + rows))

    def read_prompt(self, decodes: int, steps: int) -> list[float]:
        """Seconds of steps that carry as many rows as they may."""
        seconds = []
        for _ in range(steps):
            rows = self.pace.prompt_rows(decodes)
            self.run(decodes, rows)
            seconds.append(self.quiet(decodes + rows))
        return seconds


costs = st.floats(1e-5, 1.0)
decode_counts = st.integers(1, 64)


@given(costs, st.floats(0.01, 2.0), decode_counts, st.floats(1.0, 10.0))
def test_steps_settle_at_the_slowdown_and_never_starve_the_prompt(
    step: float, share: float, decodes: int, slowdown: float
) -> None:
    machine = Machine(step, step * share, slowdown)
    machine.run(decodes, 0, times=3)
    *_, seconds = machine.read_prompt(decodes, 200)
    limit = slowdown * machine.quiet(decodes + 1)
    assert seconds <= max(limit * 1.001, machine.quiet(decodes + 1))
    assert seconds + machine.row >= limit * 0.999


def test_before_anything_is_known_prompts_get_a_few_rows() -> None:
    assert [PrefillBudget(2.0).prompt_rows(decodes) for decodes in (1, 32)] == [
        FIRST_ROWS + 1,
        FIRST_ROWS + 32,
    ]


def test_a_prompt_read_alone_is_enough_to_price_its_rows() -> None:
    machine = Machine(0.01, 0.001)
    machine.run(0, 500)
    machine.run(4, 0)
    assert machine.read_prompt(4, 1)[0] <= 2.0 * machine.quiet(5)


@given(costs, st.floats(0.01, 2.0), decode_counts)
def test_a_step_that_seemed_to_cost_nothing_does_not_open_the_gates(
    step: float, share: float, decodes: int
) -> None:
    machine = Machine(step, step * share)
    machine.run(0, 512)
    machine.run(decodes, 0)
    machine.pace.observe(decodes, 8, machine.quiet(decodes) / 2)
    machine.pace.observe(decodes, 8, machine.quiet(decodes) / 2)
    rows = machine.pace.prompt_rows(decodes)
    fair = (2 * machine.quiet(decodes + 1) - machine.quiet(decodes)) / machine.row
    assert rows <= 16 * fair + 1


@given(st.sets(decode_counts, min_size=1), decode_counts)
def test_quiet_seconds_of_a_batch_not_yet_seen_lie_on_the_line(seen: set[int], asked: int) -> None:
    machine = Machine(0.01, 0.001)
    machine.run(0, 10_000_000)
    for decodes in seen:
        machine.run(decodes, 0)
    guess, truth = machine.pace.quiet_seconds(asked), machine.quiet(asked)
    assert guess <= truth * 1.0001
    if min(seen) <= asked <= max(seen):
        assert guess == pytest.approx(truth, rel=1e-3)


@given(costs, st.floats(0.01, 2.0), decode_counts, decode_counts)
def test_many_prompts_are_read_as_fast_as_the_batch_that_they_become_allows(
    step: float, share: float, decodes: int, joining: int
) -> None:
    machine = Machine(step, step * share)
    machine.run(decodes, 0)
    machine.run(decodes, 8, times=50)
    rows = machine.pace.prompt_rows(decodes, joining)
    assert (
        machine.quiet(decodes + rows)
        <= max(2.0 * machine.quiet(decodes + joining), machine.quiet(decodes + 1)) * 1.001
    )
    if joining > decodes:
        assert rows > machine.pace.prompt_rows(decodes) or rows == 1


def test_one_late_step_does_not_take_the_prompt_its_rows() -> None:
    machine = Machine(0.01, 0.001)
    machine.run(4, 0, times=50)
    machine.read_prompt(4, 50)
    before = machine.pace.prompt_rows(4)
    machine.run(4, before, late=20.0)
    machine.run(4, 0, late=20.0)
    assert before * 0.9 <= machine.pace.prompt_rows(4) <= before * 1.1


def test_a_machine_that_turns_slow_is_learned_anew() -> None:
    machine = Machine(0.01, 0.001)
    machine.run(4, 0, times=50)
    machine.read_prompt(4, 50)
    machine.row = 0.004
    machine.run(4, 0, times=100)
    *_, seconds = machine.read_prompt(4, 100)
    assert seconds <= 2.01 * machine.quiet(5)


def test_a_step_that_took_no_time_says_nothing() -> None:
    pace = PrefillBudget(2.0)
    for decodes, rows in ((0, 8), (8, 0), (8, 8)):
        pace.observe(decodes, rows, 0.0)
    assert pace.prompt_rows(8) == FIRST_ROWS + 8


def test_a_step_that_fed_nothing_says_nothing() -> None:
    pace = PrefillBudget(2.0)
    pace.observe(8, 0, 0.1)
    before = pace.prompt_rows(8)
    pace.observe(0, 0, 0.1)
    assert pace.prompt_rows(8) == before
