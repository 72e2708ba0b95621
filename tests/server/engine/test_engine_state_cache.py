"""The cache changes the prefill but never the reply: same ids, logits and states, bit for bit."""

import random as random_module
from dataclasses import replace
from typing import Any

import pytest
from pararnn_server.state_cache.breakpoints import Breakpoint, CacheUse
from pararnn_server.state_cache.state_cache import Partition

from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import parts_bytes
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    Bench,
    Reader,
    Steps,
    alone,
    assert_session_is_whole,
    greedy,
    model,
    random,
    running,
    until,
)

CACHED: dict[str, Any] = {"state_cache_bytes_per_key": 1 << 20, "state_cache_interval": 32}
PROMPT = [(7 * i) % 250 for i in range(100)]


def cached(reader: Reader) -> int:
    usage = reader.wait().finish.usage
    assert usage.prompt_tokens >= usage.cached_tokens
    return usage.cached_tokens


def logprobs(reader: Reader) -> list[Any]:
    return [row for event in reader.wait().events() for row in event.logprobs or ()]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("budget", [16, 512])
@pytest.mark.parametrize(
    "params", [greedy(12, logprobs=5), random(5, 12, logprobs=5, repetition_penalty=1.5)]
)
def test_every_hit_says_what_a_miss_says(cell: str, budget: int, params: SamplingParams) -> None:
    """Exact, at a mark, at the end of an earlier reply, and alone in an engine without a cache."""
    served = model(cell)
    with running(served, max_num_seqs=8, max_num_batched_tokens=budget) as bench:
        fresh = bench.ask(PROMPT, params)
    expected = fresh.ids()
    assert cached(fresh) == 0
    assert expected == alone(served, PROMPT, params)
    with running(served, max_num_seqs=8, max_num_batched_tokens=budget, **CACHED) as bench:
        bench.ask(PROMPT[:70], greedy(3))
        partial, exact = bench.ask(PROMPT, params), bench.ask(PROMPT, params)
        assert (cached(partial), cached(exact)) == (70, 100)
        for reader in (partial, exact):
            assert reader.ids() == expected
            assert logprobs(reader) == logprobs(fresh)
        at_mark = bench.ask([*PROMPT[:69], 1], params)
        assert cached(at_mark) == 64
        assert at_mark.ids() == alone(served, [*PROMPT[:69], 1], params)
        longer = [*PROMPT, *expected, 9, 9]
        after_reply = bench.ask(longer, params)
        assert cached(after_reply) == 100 + 11
        assert after_reply.ids() == alone(served, longer, params)


def test_hits_and_misses_in_one_batch_are_as_alone() -> None:
    draw = random_module.Random(4)
    with running(max_num_seqs=4, max_num_batched_tokens=24, **CACHED) as bench:
        total = 0
        for half in (range(30), range(30, 60)):
            asked = []
            for index in half:
                prompt = PROMPT[: draw.randrange(1, 100)] + [draw.randrange(250)] * draw.randrange(3)
                params = random(index, draw.randrange(1, 8))
                asked.append((prompt, params, bench.submit(prompt, params)))
            # What the first half leaves is there when the second one arrives, however fast they were sent.
            for prompt, params, reader in asked:
                total += cached(reader)
                assert reader.ids() == alone(model(), prompt, params)
        # What was kept while they waited for a slot is used too, and not counted.
        assert 0 < total <= bench.metrics.prefix_cache_hits._value.get()
        assert bench.metrics.prefix_cache_hits._value.get() > 1000


def test_all_choices_go_on_from_one_hit() -> None:
    with running(max_num_seqs=4, **CACHED) as bench:
        bench.ask(PROMPT, greedy(0))
        reader = bench.ask(PROMPT, random(3), num_choices=3)
        assert [finished.usage.cached_tokens for finished in reader.finished] == [100] * 3
        for choice in range(3):
            assert reader.ids(choice) == alone(model(), PROMPT, random(3), choice)


def test_an_exact_hit_feeds_no_token() -> None:
    steps = Steps(**CACHED)
    steps.add(PROMPT, greedy(1))
    steps.finish()
    before = steps.worker._prefill_budget._row.value  # the pace learns of every step with tokens
    _, reader = steps.add(PROMPT, greedy(1))
    steps.step()
    assert reader.ids() == alone(model(), PROMPT, greedy(1))
    assert steps.worker._prefill_budget._row.value == before


def test_an_empty_session_begins_with_a_hit_and_is_whole() -> None:
    with running(**CACHED) as bench:
        bench.ask(PROMPT, greedy(2))
        session = bench.sessions.create().id
        first = bench.ask([*PROMPT, 3], greedy(5), session_id=session)
        assert cached(first) == 100
        assert_session_is_whole(bench.sessions, session, model())
        second = bench.ask([4], greedy(5), session_id=session)
        assert cached(second) == 0
        assert_session_is_whole(bench.sessions, session, model())
        assert second.ids() == alone(model(), [*PROMPT, 3, *first.ids(), 4], greedy(5))


def test_what_a_session_goes_on_from_is_never_taken_for_a_prompt() -> None:
    """A later turn feeds ids that alone mean another state."""
    with running(**CACHED) as bench:
        session = bench.sessions.create().id
        bench.ask(PROMPT, greedy(2), session_id=session)
        bench.ask(list(range(80)), greedy(2), session_id=session)
        reader = bench.ask(list(range(80)), greedy(4))
        assert cached(reader) == 0
        assert reader.ids() == alone(model(), list(range(80)), greedy(4))


def test_prompt_logprobs_are_read_not_found() -> None:
    scored = greedy(2, prompt_logprobs=2)
    with running(max_num_batched_tokens=64, **CACHED) as bench:
        first, second = bench.ask(PROMPT, scored), bench.ask(PROMPT, scored)
        assert (cached(first), cached(second)) == (0, 0)
        assert len(second.prompt_logprobs) == 100
        assert first.prompt_logprobs == second.prompt_logprobs
        assert cached(bench.ask(PROMPT, greedy(2))) == 100


def test_a_reply_that_stops_leaves_the_state_of_its_ids() -> None:
    params = random(8, 40, logit_bias=LETTER_BIAS, stop=("abc",))
    with running(**CACHED) as bench:
        reply = bench.ask(PROMPT, params)
        again = [*PROMPT, *reply.ids(), 5, 6, 7]
        after = bench.ask(again, greedy(4))
        assert cached(after) >= 100
        assert after.ids() == alone(model(), again, greedy(4))


@pytest.mark.parametrize("other", [Partition("bob"), Partition("ada", "salt")])
def test_other_keys_and_salts_find_nothing(other: Partition) -> None:
    with running(**CACHED) as bench:
        bench.ask(PROMPT, greedy(2), owner="ada")
        probe = bench.ask(PROMPT, greedy(2), owner=other.owner, cache_salt=other.salt)
        assert cached(probe) == 0
        assert cached(bench.ask(PROMPT, greedy(2), owner=other.owner, cache_salt=other.salt)) == 100


def test_without_a_budget_nothing_is_kept() -> None:
    with running() as bench:
        bench.ask(PROMPT, greedy(2))
        assert cached(bench.ask(PROMPT, greedy(2))) == 0
        bench.engine.read_ahead(Partition(""), PROMPT)
        assert bench.engine.stats().state_cache_bytes == 0


def test_marks_of_one_prompt_leave_room_for_others() -> None:
    with running(**{**CACHED, "state_cache_bytes_per_key": 200_000}) as bench:
        bench.ask([1, 2, 3], greedy(1))
        bench.ask([i % 250 for i in range(20_000)], greedy(1))
        assert bench.engine.stats().state_cache_bytes <= 200_000
        assert cached(bench.ask([1, 2, 3], greedy(1))) == 3
        assert cached(bench.ask([i % 250 for i in range(15_000)], greedy(1))) > 10_000


def test_a_text_prompt_is_kept_before_its_last_word() -> None:
    prompt = [i % 250 for i in range(200)]
    with running(**{**CACHED, "state_cache_interval": 1024}) as bench:
        bench.ask(prompt, greedy(1), stable_tokens=195)
        assert cached(bench.ask([*prompt[:196], 9], greedy(1))) == 195
        bench.ask([5, *prompt[:100]], greedy(1), stable_tokens=98)
        assert cached(bench.ask([5, *prompt[:99]], greedy(1))) == 0


def read_ahead(bench: Bench, ids: list[int]) -> None:
    bench.engine.read_ahead(Partition(""), ids)
    until(lambda: not bench.engine.call(lambda: bench.engine._worker.has_idle_work).result(10))


def test_what_is_read_ahead_is_found() -> None:
    history = [*PROMPT, *[i % 99 for i in range(150)]]
    with running(**CACHED) as bench:
        bench.ask(PROMPT, greedy(1))
        read_ahead(bench, history)
        reader = bench.ask([*history, 3], greedy(6))
        assert cached(reader) == len(history)
        assert reader.ids() == alone(model(), [*history, 3], greedy(6))


def test_only_what_goes_on_from_a_stored_state_is_read_ahead() -> None:
    with running(**CACHED) as bench:
        read_ahead(bench, PROMPT)
        bench.ask(PROMPT, greedy(1))
        read_ahead(bench, [*PROMPT, 1, 2, 3])
        assert bench.metrics.idle_prefill_tokens._value.get() == 0


def test_requests_go_before_what_is_read_ahead() -> None:
    """Steps with a request are its own; work begun before continues afterwards."""
    steps = Steps(**CACHED)
    steps.add(PROMPT, greedy(1))
    steps.finish()
    done = steps.metrics.idle_prefill_tokens._value
    steps.worker.read_ahead(Partition(""), [*PROMPT, *range(200)])
    steps.step()
    assert done.get() == 64
    _, reader = steps.add([1, 2, 3], greedy(5))
    steps.step(5)
    assert reader.ids() == alone(model(), [1, 2, 3], greedy(5))
    assert done.get() == 64
    steps.step(3)
    assert done.get() == 200
    assert not steps.worker.has_idle_work


def test_a_promise_counts_as_cached_whoever_keeps_it() -> None:
    """Read ahead while idle, or by the request that needs it: the same count, the same reply."""
    history, again = [*PROMPT, *range(200)], [*PROMPT, *range(200), 3]
    seen = []
    for is_idle in (True, False):
        steps = Steps(**CACHED)
        steps.add(PROMPT, greedy(1))
        steps.finish()
        if not is_idle:
            steps.add([7] * 50, greedy(400), owner="another")
            steps.step(3)
        steps.worker.read_ahead(Partition(""), history)
        steps.step(6)
        assert steps.metrics.idle_prefill_tokens._value.get() == (200 if is_idle else 0)
        counts = []
        for prompt in (again, history, again):
            _, reader = steps.add(prompt, greedy(4))
            while not reader.ended.is_set():
                steps.step()
            assert reader.ids() == alone(model(), prompt, greedy(4))
            counts.append(cached(reader))
        seen.append(counts)
        steps.finish()
    assert seen[0] == seen[1] == [len(history), len(history), len(again)]


def test_prompts_that_arrive_together_count_the_same_however_many_slots_are_free() -> None:
    seen = []
    for slots_taken in (0, 3):
        steps = Steps(**CACHED, max_num_seqs=4)
        for _ in range(slots_taken):
            steps.add([7] * 5, greedy(300), owner="another")
        steps.step(2)
        readers = [steps.add(PROMPT, greedy(2))[1] for _ in range(4)]
        steps.finish()
        seen.append([cached(reader) for reader in readers])
    assert seen[0] == seen[1] == [0, 0, 0, 0]


def test_owners_take_turns_in_reading_ahead() -> None:
    steps = Steps(**CACHED)
    for owner in ("ada", "bob"):
        steps.add(PROMPT, greedy(1), owner=owner)
    steps.finish()
    for index in range(20):
        steps.worker.read_ahead(Partition("ada"), [*PROMPT, index, *range(200)])
    steps.worker.read_ahead(Partition("bob"), [*PROMPT, *range(60)])
    steps.step(2)
    _, reader = steps.add([*PROMPT, *range(60)], greedy(1), owner="bob")
    steps.step()
    assert cached(reader) == 160


def test_a_breakpoint_is_a_place_that_another_prompt_resumes_from() -> None:
    use = CacheUse([Breakpoint(41, 60.0)])
    other = [*PROMPT[:41], *range(50)]
    for is_explicit in (False, True):
        with running(max_num_seqs=8, max_num_batched_tokens=16, **CACHED) as bench:
            fresh = bench.ask(PROMPT, greedy(5), cache_use=replace(use, is_explicit=is_explicit))
            assert cached(fresh) == 0
            again = bench.ask(other, greedy(5))
            assert cached(again) == 41
            assert again.ids() == alone(model(), other, greedy(5))


def test_explicit_use_keeps_only_what_is_marked_and_without_marks_nothing() -> None:
    with running(**CACHED) as bench:
        bench.ask(PROMPT, greedy(5), cache_use=CacheUse([Breakpoint(41, 60.0)], is_explicit=True))
        assert cached(bench.ask(PROMPT, greedy(5), cache_use=CacheUse(is_explicit=True))) == 0
        assert cached(bench.ask([*PROMPT, 1], greedy(5))) == 41
    with running(**CACHED) as bench:
        bench.ask(PROMPT, greedy(5), cache_use=CacheUse(is_explicit=True))
        assert cached(bench.ask(PROMPT, greedy(5))) == 0


def test_pinned_states_outlast_others_of_their_key_and_not_those_of_another() -> None:
    state = 3 * parts_bytes(model().state_parts) + 4000
    with running(num_owners=2, state_cache_bytes_per_key=2 * state, state_cache_interval=4096) as bench:
        bench.ask(PROMPT, greedy(1), owner="ada", cache_use=CacheUse([Breakpoint(41, 600.0)]))
        bench.ask(PROMPT, greedy(1), owner="bob")
        for first in range(12):
            bench.ask([200 + first, 1], greedy(1), owner="ada")
        assert cached(bench.ask([*PROMPT[:41], 7], greedy(1), owner="ada")) == 41
        assert cached(bench.ask(PROMPT, greedy(1), owner="bob")) == 100


def test_turns_of_a_session_that_continues_take_no_place_in_the_cache() -> None:
    with running(**CACHED) as bench:
        session = bench.sessions.create().id
        bench.ask(PROMPT, greedy(3), session_id=session)
        before = bench.engine.stats().state_cache_bytes
        for turn in range(5):
            bench.ask([turn, 1, 2], greedy(3), session_id=session)
        assert bench.engine.stats().state_cache_bytes == before
