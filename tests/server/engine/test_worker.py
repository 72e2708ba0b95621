"""The engine's steps, one by one: order of tokens, freeing of slots, effects of failures."""

from typing import Any

import pytest
import torch
from pararnn_server.engine.prefill_budget import FIRST_ROWS
from pararnn_server.engine.request import Output, Tokens
from pararnn_server.engine.worker import Worker
from pararnn_server.errors import Conflict, Internal, Timeout, TooManyRequests, Unavailable
from pararnn_server.metrics.metrics import PoolStats

from tests.fixtures import tiny_config, tiny_model
from tests.server.engine_fixtures import Steps, alone, assert_session_is_whole, greedy, model, random


def slots_used(worker: Worker) -> int:
    return worker.stats().state_slots_used


def test_abort_frees_slot_at_once() -> None:
    steps = Steps(max_num_seqs=2)
    first, reader = steps.add([1, 2, 3], greedy(100))
    waiting, _ = steps.add([1], greedy(100), num_choices=2)
    steps.step(3)
    assert slots_used(steps.worker) == 1
    steps.worker.abort(first)
    assert slots_used(steps.worker) == 0
    assert [finished.finish_reason for finished in reader.finished] == ["abort"]
    said = len(reader.outputs)
    steps.step()
    assert slots_used(steps.worker) == 2
    assert len(reader.outputs) == said
    steps.worker.abort(waiting)
    assert slots_used(steps.worker) == 0
    assert not steps.worker.has_work
    assert steps.ended == [first, waiting]


def test_abort_while_waiting_and_of_a_stranger() -> None:
    steps = Steps(max_num_seqs=1)
    steps.add([1], greedy(5))
    waiting, reader = steps.add([2], greedy(5))
    steps.step()
    steps.worker.abort(waiting)
    steps.worker.abort("nobody")
    assert not reader.started
    assert reader.finish.usage.completion_tokens == 0
    steps.finish()


def test_a_long_prompt_does_not_stall_the_others() -> None:
    """Before a step is timed, as here with a stopped clock, prompts get a fixed small number of rows."""
    steps = Steps(max_num_seqs=8, max_num_batched_tokens=64)
    readers = [steps.add([seed], greedy(500))[1] for seed in range(4)]
    steps.step()
    rows = FIRST_ROWS + 4
    _, late = steps.add(list(range(200)) * 10, greedy(4))
    for step in range(-(-2000 // rows) - 1):
        steps.step()
        assert not late.events()
        assert [len(reader.ids()) for reader in readers] == [step + 2] * 4
    steps.step()
    assert late.events()


def test_a_prompt_beside_replies_gets_what_keeps_the_step_within_the_slowdown() -> None:
    """A row takes 10 ms and a step 50 ms more: the four decodes to come 90 ms, 13 rows 180."""
    timed = TimedModel()
    steps = Steps(timed.served, max_num_seqs=8, max_num_batched_tokens=64, max_decode_slowdown=2.05)
    timed.steps = steps
    for seed in range(3):
        steps.add([seed], greedy(500))
    steps.step(30)
    steps.add([1] * 2000, greedy(4))
    steps.step(60)
    timed.rows.clear()
    steps.step(40)
    assert set(timed.rows) == {3 + 10}


def test_a_prompt_alone_takes_the_whole_budget() -> None:
    steps = Steps(max_num_seqs=2, max_num_batched_tokens=100, max_decode_slowdown=1.0)
    _, reader = steps.add([1] * 1000, greedy(2))
    steps.step(9)
    assert not reader.events()
    steps.step()
    assert len(reader.ids()) == 1


def test_a_reply_of_a_key_with_few_is_not_held_up_by_a_key_with_many() -> None:
    """A row takes 10 ms and a step 50 ms more: beside 16 replies 210 ms a token, by itself 60."""
    timed = TimedModel()
    steps = Steps(timed.served, max_num_seqs=32, max_num_batched_tokens=64, num_owners=2)
    timed.steps = steps
    busy = [steps.add([seed], greedy(500), owner="busy")[1] for seed in range(16)]
    _, reader = steps.add([1], greedy(500), owner="quiet")
    steps.step(20)
    before, began = len(reader.ids()), steps.now
    others = len(busy[0].ids())
    while steps.now < began + 20.0:
        steps.worker.step()
    gained, gained_by_others = len(reader.ids()) - before, len(busy[0].ids()) - others
    assert gained >= 4.5 * gained_by_others
    assert gained_by_others >= 0.49 * 20.0 / 0.22
    assert reader.ids() == alone(timed.served, [1], greedy(len(reader.ids())))


def test_queue_timeout_and_request_timeout_are_told_apart() -> None:
    steps = Steps(max_num_seqs=1, queue_timeout=5.0)
    _, runs = steps.add([1], greedy(10_000), deadline=steps.now + 9)
    _, waits = steps.add([2], greedy(1))
    _, hurries = steps.add([3], greedy(1), deadline=steps.now + 2)
    steps.step(30)
    assert isinstance(hurries.failed and hurries.failed.error, Timeout)
    assert waits.failed is None
    steps.step(25)
    error = waits.failed and waits.failed.error
    assert isinstance(error, TooManyRequests)
    assert error.code == "queue_timeout"
    assert runs.failed is None
    steps.step(50)
    assert isinstance(runs.failed and runs.failed.error, Timeout)
    assert not steps.worker.has_work
    assert slots_used(steps.worker) == 0


class TimedModel:
    """A step lasts 50 ms and 10 ms for each of its rows."""

    def __init__(self) -> None:
        self.served = tiny_model("gru", 3)
        self.steps: Steps | None = None
        self.rows: list[int] = []
        self._forward = self.served.step
        self.served.step = self._take_time  # type: ignore[method-assign]  # replaced by the test

    def _take_time(self, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.rows.append(len(tokens))
        if self.steps is not None:
            self.steps.now += 0.05 + 0.01 * len(tokens)
        return self._forward(tokens, *args, **kwargs)


class FailingModel:
    """Makes `forward` raise, or give NaN to a token, while it is armed."""

    def __init__(self) -> None:
        self.served = tiny_model("gru", 3)
        self.armed = False
        self.poisoned_token: int | None = None
        self._forward = self.served.step
        self.served.step = self._fail  # type: ignore[method-assign]  # replaced by the test

    def _fail(self, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.armed:
            raise RuntimeError("injected")
        logits = self._forward(tokens, *args, **kwargs).clone()
        if self.poisoned_token is not None:
            wanted = tokens[kwargs["logits_indices"]] == self.poisoned_token
            logits[wanted] = torch.nan
        return logits


def test_a_failing_step_ends_its_requests_and_the_next_ones_run() -> None:
    failing = FailingModel()
    steps = Steps(failing.served, max_num_seqs=2)
    readers = [steps.add([seed], greedy(100))[1] for seed in range(2)]
    _, waits = steps.add([1, 2, 3], greedy(6))
    steps.step(4)
    failing.armed = True
    steps.step()
    assert all(isinstance(reader.failed and reader.failed.error, Internal) for reader in readers)
    assert waits.failed is None
    assert slots_used(steps.worker) == 0
    failing.armed = False
    steps.finish()
    assert waits.ids() == alone(failing.served, [1, 2, 3], greedy(6))


def test_a_failing_first_step_undoes_the_turn() -> None:
    failing = FailingModel()
    failing.armed = True
    steps = Steps(failing.served)
    session = steps.sessions.create().id
    _, reader = steps.add([1, 2], greedy(3), session_id=session)
    steps.step()
    assert isinstance(reader.failed and reader.failed.error, Internal)
    assert steps.sessions.get(session).turn == 0
    assert steps.sessions.running_request(session) is None


def test_a_state_that_cannot_be_loaded_ends_only_its_own_request() -> None:
    steps = Steps(max_num_seqs=3, max_num_batched_tokens=3)
    session = steps.sessions.create().id
    _, bad = steps.add([1, 2, 3], greedy(3), session_id=session, spoil=tiny_config(hidden_size=64))
    others = [steps.add([seed, 2], greedy(3))[1] for seed in range(2)]
    steps.finish()
    assert isinstance(bad.failed and bad.failed.error, Internal)
    assert steps.sessions.running_request(session) is None
    assert [reader.ids() for reader in others] == [alone(model(), [seed, 2], greedy(3)) for seed in range(2)]


def test_logits_that_are_not_finite_end_only_their_own_request() -> None:
    failing = FailingModel()
    failing.poisoned_token = 77
    steps = Steps(failing.served)
    _, good = steps.add([5, 6], greedy(6))
    _, bad = steps.add([5, 77], random(1))
    _, other = steps.add([9], random(2, max_tokens=6))
    steps.step()
    assert isinstance(bad.failed and bad.failed.error, Internal)
    failing.poisoned_token = None
    steps.finish()
    assert good.ids() == alone(failing.served, [5, 6], greedy(6))
    assert other.ids() == alone(failing.served, [9], random(2, max_tokens=6))


def test_a_callback_that_raises_ends_its_request_within_one_step() -> None:
    def refuse(output: Output) -> None:
        if isinstance(output, Tokens):
            raise RuntimeError("the loop is closed")

    steps = Steps(max_num_seqs=2)
    steps.add([1], greedy(100), hook=refuse)
    _, good = steps.add([2], greedy(5))
    steps.step(2)
    assert slots_used(steps.worker) == 1
    steps.finish()
    assert good.ids() == alone(model(), [2], greedy(5))


def test_fail_all_leaves_a_pool_that_is_free() -> None:
    steps = Steps(max_num_seqs=4)
    session = steps.sessions.create().id
    readers = [steps.add([seed], greedy(100))[1] for seed in range(6)]
    readers.append(steps.add([1], greedy(100), session_id=session)[1])
    steps.step(2)
    steps.worker.fail_all(Unavailable("bye"))
    assert all(isinstance(reader.failed and reader.failed.error, Unavailable) for reader in readers)
    assert steps.worker.stats() == PoolStats(0, 0, 0, 4, 0)
    assert len(steps.ended) == 7
    assert steps.sessions.running_request(session) is None
    _, reader = steps.add([8], greedy(3))
    steps.finish()
    assert reader.ids() == alone(model(), [8], greedy(3))


def test_cancel_commits_what_was_delivered() -> None:
    steps = Steps()
    session = steps.sessions.create().id
    request, reader = steps.add([1, 2, 3], greedy(1000), session_id=session)
    steps.step(7)
    steps.worker.cancel(request)
    assert reader.finish.finish_reason == "cancelled"
    info = reader.finish.session
    assert info is not None
    assert (info.turn, info.num_tokens) == (1, 3 + len(reader.ids()))
    assert steps.sessions.token_ids(session) == [1, 2, 3, *reader.ids()]
    assert_session_is_whole(steps.sessions, session, model())
    steps.worker.cancel(request)
    assert len(reader.finished) == 1


@pytest.mark.parametrize("busy_steps", [0, 1])
def test_cancel_before_the_first_id_undoes_the_turn(busy_steps: int) -> None:
    steps = Steps(max_num_seqs=1, max_num_batched_tokens=4)
    session = steps.sessions.create().id
    request, reader = steps.add([1] * 100, greedy(5), session_id=session)
    steps.step(busy_steps)
    steps.worker.cancel(request)
    assert (reader.finish.finish_reason, reader.finish.session) == ("cancelled", None)
    assert steps.sessions.get(session).turn == 0
    assert slots_used(steps.worker) == 0


def test_a_deleted_session_ends_its_reply_with_an_error() -> None:
    steps = Steps()
    session = steps.sessions.create().id
    request, reader = steps.add([1], greedy(100), session_id=session)
    steps.step(3)
    assert steps.sessions.delete(session) == request
    steps.worker.fail(request, Conflict("deleted"))
    assert isinstance(reader.failed and reader.failed.error, Conflict)
    assert slots_used(steps.worker) == 0


def test_a_turn_that_can_no_longer_commit_ends_with_an_error() -> None:
    steps = Steps()
    session = steps.sessions.create().id
    _, reader = steps.add([1], greedy(2), session_id=session)
    steps.step()
    steps.sessions.delete(session)
    steps.finish()
    assert reader.failed is not None
    assert reader.failed.error.status == 404
    assert slots_used(steps.worker) == 0


def test_a_request_whose_time_is_over_gets_no_slot() -> None:
    """Requests time out even if the engine checked for timeouts a moment ago."""
    steps = Steps()
    steps.add([1], greedy(1))
    steps.step()
    _, late = steps.add([1], greedy(1), deadline=steps.now - 0.001)
    steps.now -= 0.1
    steps.step()
    assert late.failed is not None
    assert late.failed.error.code == "request_timeout"
    assert not late.started
