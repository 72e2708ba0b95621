"""A key with little running is not held up by one with much."""

from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.engine.light_steps import LIGHT_SHARE, LightSteps
from pararnn_server.engine.scheduler import Scheduler


def running(counts: dict[str, int], slots: int = 16) -> Scheduler:
    """Replies of each key, one per request."""
    scheduler = Scheduler(slots, 64, num_owners=1)
    for key, count in counts.items():
        for number in range(count):
            scheduler.add(f"{key}{number}", 1, owner=key)
    scheduler.admit()
    scheduler.schedule(64)
    return scheduler


def test_a_key_with_few_replies_beside_one_with_many_is_light() -> None:
    assert running({"busy": 9, "quiet": 1}).light_keys == {"quiet"}
    assert running({"busy": 9, "quiet": 1, "other": 1}).light_keys == {"quiet", "other"}
    assert running({"busy": 9, "quiet": 1, "other": 2}).light_keys == {"quiet"}


def test_keys_with_about_as_many_replies_are_not_light() -> None:
    assert running({"a": 3, "b": 2}).light_keys == frozenset()
    assert running({"a": 5}).light_keys == frozenset()
    assert running({}).light_keys == frozenset()


def test_a_light_step_carries_the_replies_and_prompts_of_its_keys_alone() -> None:
    scheduler = running({"busy": 9, "quiet": 1})
    scheduler.add("late", 3, owner="quiet")
    scheduler.add("long", 50, owner="busy")
    scheduler.admit()
    step = scheduler.schedule(64, {"quiet"})
    assert [decode.request_id for decode in step.decodes] == ["quiet0"]
    assert [(prefill.request_id, prefill.num_tokens) for prefill in step.prefills] == [("late", 3)]
    whole = scheduler.schedule(64)
    assert len(whole.decodes) == 11
    assert [prefill.request_id for prefill in whole.prefills] == ["long"]


def test_a_prompt_in_a_light_step_is_bounded_by_the_replies_that_the_step_leaves_out() -> None:
    scheduler = running({"busy": 9})
    scheduler.add("long", 1000, owner="quiet")
    scheduler.admit()
    assert scheduler.light_keys == {"quiet"}
    step = scheduler.schedule(busy_prompt_tokens=8, keys={"quiet"})
    assert (step.decodes, step.num_tokens) == ([], 8)


def test_steps_ahead_are_off_while_a_key_is_light() -> None:
    assert running({"busy": 9}).is_steady
    assert not running({"busy": 9, "quiet": 1}).is_steady


@given(st.lists(st.floats(1e-4, 0.1), min_size=1, max_size=60), st.floats(1e-4, 0.1))
def test_light_steps_take_their_share_of_the_time_and_one_step_more_at_most(
    wholes: list[float], light: float
) -> None:
    steps, spent = LightSteps(), 0.0
    for seconds in wholes:
        steps.observe(seconds, was_light=False)
        while steps.is_due:
            steps.observe(light, was_light=True)
            spent += light
    assert spent <= LIGHT_SHARE * sum(wholes) + light + 1e-9


def test_time_that_light_keys_left_unused_is_not_kept() -> None:
    steps = LightSteps()
    for _ in range(100):
        steps.observe(1.0, was_light=False)
    count = 0
    while steps.is_due:
        steps.observe(0.125, was_light=True)
        count += 1
    assert count == LIGHT_SHARE / 0.125
