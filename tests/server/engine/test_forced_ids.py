"""Ids that a mask forces are the same in every batch, and count as if they had been drawn."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.sampling_params import SamplingParams
from tests.server.engine_fixtures import (
    LETTERS,
    TOKEN_BYTES,
    VOCAB_SIZE,
    Steps,
    alone,
    assert_session_is_whole,
    feed_slot,
    greedy,
    model,
    random,
    running,
)
from tests.server.token_masks import Runs

OPENING = [5, 200, 9, 9, 33]
PARAMS = [
    greedy(30),
    random(7, 30),
    random(3, 30, top_p=0.9, top_k=40),
    random(5, 30, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.7, logit_bias={1: 50.0}),
    random(6, 30, min_tokens=9, stop_token_ids=(12, 21, 27)),
]


def expected(params: SamplingParams, mask: Runs, prompt: list[int], choice: int = 0) -> list[int]:
    """The ids of the plainest loop, up to the first stop id that counts."""
    ids = alone(model(), prompt, replace(params, stop_token_ids=()), choice, mask)
    ends = [i for i, token in enumerate(ids) if token in params.stop_token_ids]
    return ids if not ends else ids[: ends[0]]


@pytest.mark.parametrize("params", PARAMS[:4], ids=range(4))
@pytest.mark.parametrize("opening", [[], OPENING], ids=["", "opening"])
def test_a_reply_with_forced_ids_is_that_of_the_plainest_loop(
    params: SamplingParams, opening: list[int]
) -> None:
    with running() as bench:
        reader = bench.ask([1, 2, 3], params, token_mask=Runs(opening))
    assert reader.ids() == expected(params, Runs(opening), [1, 2, 3])
    assert reader.ids()[: len(opening)] == opening
    assert reader.finish.usage.completion_tokens == 30
    assert reader.finish.finish_reason == "length"


@settings(max_examples=25)
@given(
    openings=st.lists(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=9), min_size=1, max_size=5),
    budget=st.integers(8, 40),
    max_tokens=st.integers(1, 20),
    length=st.integers(1, 30),
    seed=st.integers(0, 99),
    num_free=st.integers(0, 2),
)
def test_forced_ids_do_not_depend_on_the_batch(
    openings: list[list[int]], budget: int, max_tokens: int, length: int, seed: int, num_free: int
) -> None:
    steps = Steps(max_num_seqs=8, max_num_batched_tokens=budget)
    params = random(seed, max_tokens)
    masked = [
        steps.add([1 + i, 9] * (i + 1), params, token_mask=Runs(opening, length))[1]
        for i, opening in enumerate(openings)
    ]
    free = [steps.add([100 + i], params)[1] for i in range(num_free)]
    steps.finish()
    for i, (opening, reader) in enumerate(zip(openings, masked, strict=True)):
        mask = Runs(opening, length)
        assert reader.ids() == alone(model(), [1 + i, 9] * (i + 1), params, token_mask=mask)
        assert reader.finish.finish_reason == ("stop" if len(reader.ids()) >= length else "length")
    for i, reader in enumerate(free):
        assert reader.ids() == alone(model(), [100 + i], params)


def test_choices_have_forced_ids_of_their_own() -> None:
    with running() as bench:
        reader = bench.ask([1, 2, 3], random(11, 25), num_choices=3, token_mask=Runs(OPENING))
    for choice in range(3):
        assert reader.ids(choice) == alone(model(), [1, 2, 3], random(11, 25), choice, Runs(OPENING))
    assert len({tuple(reader.ids(choice)) for choice in range(3)}) == 3


def test_log_probabilities_of_forced_ids_are_those_of_their_rows() -> None:
    with running() as bench:
        reader = bench.ask([1, 2, 3], random(4, 25, logprobs=2), token_mask=Runs(OPENING))
    rows = [row for event in reader.events() for row in event.logprobs or ()]
    assert [row.token_id for row in rows] == reader.ids() == expected(random(4, 25), Runs(OPENING), [1, 2, 3])
    state, feed = model().new_state(1), [1, 2, 3]
    for row in rows:
        logprobs = torch.log_softmax(feed_slot(model(), state, feed)[0].double(), 0)
        assert row.logprob == pytest.approx(float(logprobs[row.token_id]), abs=1e-6)
        assert [token for token, _ in row.top] == torch.topk(logprobs, 2).indices.tolist()
        feed = [row.token_id]


@pytest.mark.parametrize("length", range(1, 12))
def test_a_complete_reply_ends_without_a_draw(length: int) -> None:
    with running() as bench:
        reader = bench.ask([1], random(3, 12), token_mask=Runs(OPENING, length))
        assert bench.ask([1], random(3, 12), token_mask=Runs((), 0)).finish.finish_reason == "stop"
    ids = alone(model(), [1], random(3, 12), token_mask=Runs(OPENING))
    assert (reader.ids(), reader.finish.finish_reason) == (ids[:length], "stop")
    assert reader.finish.usage.completion_tokens == length


def test_sessions_hold_what_forced_replies_say() -> None:
    with running() as bench:
        session, ids = bench.sessions.create().id, []
        for turn in range(6):
            params = random(turn, 3 + 2 * turn, stop_token_ids=(12, 21))
            mask = Runs(OPENING[: 2 * turn], length=9)
            reply = bench.ask([turn, 8], params, session_id=session, token_mask=mask).ids()
            ids += [turn, 8, *reply]
            assert bench.sessions.token_ids(session) == ids
            assert_session_is_whole(bench.sessions, session, model())


@pytest.mark.parametrize("in_session", [False, True])
@pytest.mark.parametrize("stop", ["bcabc", "ca", "b", "abca", "zz"])
def test_a_stop_string_inside_forced_text_ends_the_reply(stop: str, in_session: bool) -> None:
    opening = [LETTERS[i % 3] for i in range(10)] + [120]
    whole = alone(model(), [1], random(2, 16), token_mask=Runs(opening))
    text = b"".join(TOKEN_BYTES[token] for token in whole)
    with running(state_cache_bytes_per_key=1 << 20) as bench:
        session = bench.sessions.create().id if in_session else None
        params = random(2, 16, stop=(stop,))
        reader = bench.ask([1], params, session_id=session, token_mask=Runs(opening))
        assert reader.text() == text.split(stop.encode())[0]
        assert reader.finish.stop_reason == (stop if stop.encode() in text else None)
        if session is not None:
            assert_session_is_whole(bench.sessions, session, model())
        # The state at the end of the reply is cached: a reply that resumes from it is the same.
        longer = [1, *reader.ids()]
        assert bench.ask(longer, greedy(5)).ids() == alone(model(), longer, greedy(5))


def test_forced_ids_are_read_like_a_prompt() -> None:
    """Sixty ids in a handful of steps, and each state is that of steps one by one."""
    opening = [i % 200 for i in range(60)]
    with patch.object(ParaRNNForCausalLM, "step", autospec=True, side_effect=ParaRNNForCausalLM.step) as step:
        steps = Steps(max_num_batched_tokens=256)
        _, reader = steps.add([1], greedy(64), token_mask=Runs(opening))
        steps.finish()
    assert reader.ids()[:60] == opening
    assert step.call_count < 20


def test_another_reply_gets_an_id_in_every_step_beside_a_long_forced_text() -> None:
    opening = [i % 200 for i in range(3000)]
    steps = Steps(max_num_seqs=2, max_num_batched_tokens=64)
    _, free = steps.add([7], greedy(100))
    _, long = steps.add([1], greedy(3000), token_mask=Runs(opening, 3000))
    steps.step(2)
    for number in range(20):
        before = len(free.ids()), len(long.ids())
        steps.step()
        assert len(free.ids()) == before[0] + 1, number
        # What is left of the budget, and no more.
        assert before[1] < len(long.ids()) < before[1] + 64
    steps.finish()
    assert long.ids() == opening
    assert free.ids() == alone(model(), [7], greedy(100))


def test_a_cancelled_reply_keeps_the_forced_ids_that_were_said() -> None:
    steps = Steps(max_num_batched_tokens=64)
    session = steps.sessions.create().id
    opening = [i % 200 for i in range(60)]
    request_id, reader = steps.add([1], greedy(100), session_id=session, token_mask=Runs(opening))
    steps.step(3)
    steps.worker.cancel(request_id)
    assert 0 < len(reader.ids()) < 60
    assert steps.sessions.token_ids(session) == [1, *reader.ids()]
    assert_session_is_whole(steps.sessions, session, model())
