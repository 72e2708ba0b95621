"""Async scheduling does not change replies. It runs on the CPU here in the same way as on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState
from tests.core.device.models import FakeCapturer, with_graphs
from tests.fixtures import tiny_model
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    Bench,
    Reader,
    alone,
    assert_session_is_whole,
    greedy,
    random,
    running,
    until,
)
from tests.server.token_masks import EVEN, Only, Rising

TOLERANCE = 2e-5
"""Tolerance of states, because the model that is fed all ids at once is the packed one."""
BAD_TOKEN = 201


@cache
def packed() -> ParaRNNForCausalLM:
    return tiny_model("lstm", 1).pack()


class Counted:
    """The model on a device, and how often a step of it began ahead."""

    def __init__(self, prepare: Callable[[ParaRNNForCausalLM], None] = lambda model: None) -> None:
        model = tiny_model("lstm", 1)
        prepare(model)
        self.model = with_graphs(model, FakeCapturer())
        self.steps_ahead = 0
        decode_ahead = self.model.decode_ahead

        def count(ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
            self.steps_ahead += 1
            return decode_ahead(ids, slots, state)

        self.model.decode_ahead = count  # type: ignore[method-assign]  # replaced by the test


@pytest.fixture
def counted() -> Iterator[Counted]:
    """Fails a test in which no step began ahead: it would show nothing."""
    counted = Counted()
    yield counted
    assert counted.steps_ahead > 0


LETTERS = SamplingParams(max_tokens=30, seed=3, ignore_eos=True, logit_bias=LETTER_BIAS)
WORK: list[tuple[list[int], SamplingParams]] = [
    ([1, 2, 3], greedy(12)),
    (list(range(40)), random(7, 9)),
    ([200], random(3, 15, repetition_penalty=1.5)),
    ([9, 8, 7, 6, 5] * 30, random(5, 12, presence_penalty=0.5, frequency_penalty=0.2, top_p=0.9)),
    ([4, 4], random(11, 1)),
    ([17], replace(LETTERS, stop=("abca",))),
]


def test_replies_are_those_of_each_request_alone(counted: Counted) -> None:
    with running(counted.model, max_num_seqs=4, max_num_batched_tokens=64) as bench:
        readers = [bench.submit(*work) for work in WORK]
        replies = [reader.wait() for reader in readers]
    for reply, (prompt, params) in zip(replies, WORK, strict=True):
        if params.stop:
            assert reply.finish.finish_reason in ("stop", "length")
        else:
            assert reply.ids() == alone(packed(), prompt, params)


def test_choices_and_log_probabilities_are_those_of_a_host_that_waits(counted: Counted) -> None:
    params = random(5, 8, logprobs=3)
    with running(counted.model, max_num_seqs=4) as bench:
        ahead = bench.ask([1, 2, 3], params, num_choices=3)
    with running(packed(), max_num_seqs=4) as bench:
        waits = bench.ask([1, 2, 3], params, num_choices=3)
    for choice in range(3):
        assert ahead.ids(choice) == waits.ids(choice)
        found, expected = (
            torch.tensor([one.logprob for event in reader.events(choice) for one in event.logprobs or ()])
            for reader in (ahead, waits)
        )
        assert len(found) == 8
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("over", [{}, {"stop": ("abca", "cc")}, {"stop": ("b",), "max_tokens": 3}])
def test_state_of_a_turn_is_that_of_its_ids(counted: Counted, over: dict[str, Any]) -> None:
    with running(counted.model, max_num_seqs=3) as bench:
        neighbour = bench.submit([50], greedy(300))
        session = bench.sessions.create().id
        for turn in range(4):
            bench.ask([turn, 5], replace(LETTERS, seed=turn, **over), session_id=session)
            assert_session_is_whole(bench.sessions, session, packed(), TOLERANCE)
        bench.engine.abort(neighbour_id(neighbour))


def neighbour_id(reader: Reader) -> str:
    until(lambda: reader.started)
    started: Any = reader.outputs[0]
    return str(started.request_id)


def test_cancelled_turn_is_committed_as_it_was_told(counted: Counted) -> None:
    with running(counted.model, max_num_seqs=2) as bench:
        session = bench.sessions.create().id
        reader = bench.submit([1, 2], greedy(5000), session_id=session)
        until(lambda: len(reader.ids()) > 20)
        info = bench.cancel(session)
        reader.wait()
        assert info.num_tokens == 2 + len(reader.ids())
        assert_session_is_whole(bench.sessions, session, packed(), TOLERANCE)


def test_request_that_comes_later_is_answered_between_steps(counted: Counted) -> None:
    with running(counted.model, max_num_seqs=2) as bench:
        endless = bench.submit([3], greedy(3000))
        until(lambda: len(endless.ids()) > 5)
        assert bench.ask([1, 2, 3], greedy(12)).ids() == alone(packed(), [1, 2, 3], greedy(12))
        bench.engine.abort(neighbour_id(endless))
        endless.wait()
        assert bench.ask([200], greedy(4)).ids() == alone(packed(), [200], greedy(4))


def test_step_that_fails_ends_its_requests_and_no_others() -> None:
    counted = Counted()
    decode_ahead, fails = counted.model.decode_ahead, [True]

    def fail_once(ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        if counted.steps_ahead == 3 and fails.pop():
            fails.append(False)
            raise RuntimeError("out of memory")
        return decode_ahead(ids, slots, state)

    counted.model.decode_ahead = fail_once  # type: ignore[method-assign]  # replaced by the test
    with running(counted.model, max_num_seqs=2) as bench:
        assert bench.ask([3], greedy(30)).failed is not None
        assert bench.ask([200], greedy(9)).ids() == alone(packed(), [200], greedy(9))


def test_row_that_is_not_finite_ends_its_request_alone() -> None:
    def spoil(model: ParaRNNForCausalLM) -> None:
        with torch.no_grad():
            model.embedding.weight[BAD_TOKEN] = torch.nan

    counted = Counted(spoil)
    with running(counted.model, max_num_seqs=3) as bench:
        good = bench.submit([1, 2, 3], greedy(40))
        bias = {BAD_TOKEN: 100.0}
        bad = bench.submit([7], greedy(10, logit_bias=bias))
        assert bad.wait().failed is not None
        assert good.wait().ids() == alone(packed(), [1, 2, 3], greedy(40))


def test_nothing_begins_ahead_while_others_wait_or_are_read() -> None:
    counted = Counted()
    bench = Bench(counted.model, max_num_seqs=1)
    readers = [bench.submit([1, 2, 3], greedy(5)) for _ in range(3)]
    bench.engine.start()
    try:
        for reader in readers:
            reader.wait()
        assert counted.steps_ahead <= 4, "only the last of three had nobody behind it"
    finally:
        bench.engine.stop(0.0)
        bench.sessions.close()


def test_nothing_begins_ahead_beside_a_reply_whose_next_mask_needs_its_last_id() -> None:
    counted, mask = Counted(), Rising()
    with running(counted.model, max_num_seqs=3) as bench:
        free = bench.submit([1, 2, 3], greedy(200))
        masked = bench.submit([200], random(7, 20), token_mask=mask).wait()
        assert masked.ids() == alone(packed(), [200], random(7, 20), token_mask=Rising())
        assert mask.forks[0].accepted == masked.ids()
        assert free.wait().ids() == alone(packed(), [1, 2, 3], greedy(200))
    # Ahead again as soon as the masked reply draws its last id.
    assert counted.steps_ahead > 100


def test_a_masked_reply_alone_has_no_step_ahead() -> None:
    counted = Counted()
    with running(counted.model, max_num_seqs=2) as bench:
        ids = bench.ask([1, 2], greedy(9), num_choices=2, token_mask=Only(EVEN)).ids(1)
        assert ids == alone(packed(), [1, 2], greedy(9), token_mask=Only(EVEN))
        assert counted.steps_ahead == 0
        bench.ask([1, 2], greedy(9))
        assert counted.steps_ahead == 8
