"""Turns through the engine: the committed state is always that of the session's ids."""

import random as random_module
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.engine.request import Output, Tokens
from pararnn_server.errors import BadRequest, Conflict, NotFound, Timeout, Unavailable

from pararnn_core.models.pararnn.state_layout import state_bytes
from pararnn_core.sampling_params import SamplingParams
from tests.fixtures import tiny_model
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    TOKEN_BYTES,
    VOCAB_SIZE,
    Bench,
    Reader,
    alone,
    assert_session_is_whole,
    greedy,
    model,
    random,
    running,
    until,
)


def letters(seed: int, stops: list[str], max_tokens: int = 60) -> SamplingParams:
    return random(seed, max_tokens, logit_bias=LETTER_BIAS, stop=tuple(stops))


def session_text(bench: Bench, session_id: str) -> bytes:
    return b"".join(TOKEN_BYTES[token_id] for token_id in bench.sessions.token_ids(session_id))


def new_seed() -> int:
    seed = random_module.SystemRandom().randrange(2**32)
    print("seed", seed)
    return seed


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_session_goes_on_like_one_long_request(cell: str) -> None:
    served = model(cell)
    expected = alone(served, [1, 2, 3], greedy(30))
    with running(served) as bench:
        session = bench.sessions.create().id
        said: list[int] = []
        for turn, count in enumerate((1, 4, 10, 15)):
            reader = bench.ask([1, 2, 3] if turn == 0 else [], greedy(count), session_id=session)
            said += reader.ids()
            assert_session_is_whole(bench.sessions, session, served)
        assert said == expected


def test_turns_with_prompts_equal_one_prompt_of_all_ids() -> None:
    with running(max_num_batched_tokens=64) as bench:
        session = bench.sessions.create().id
        log: list[int] = []
        for turn in range(5):
            prompt = [turn + 1, 7, 9, turn]
            reader = bench.ask(prompt, greedy(6), session_id=session)
            assert reader.ids() == alone(model(), [*log, *prompt], greedy(6))
            log += [*prompt, *reader.ids()]
            assert bench.sessions.token_ids(session) == log
            info = reader.finish.session
            assert info is not None
            assert (info.turn, info.num_tokens, info.tier) == (turn + 1, len(log), "host")
            assert reader.finish.usage.prompt_tokens == 4


def test_append_feeds_everything_and_an_empty_prompt_goes_on_from_there() -> None:
    prompt = list(range(100))
    with running(max_num_batched_tokens=64) as bench:
        session = bench.sessions.create().id
        assert bench.ask(prompt, greedy(0), session_id=session).finish.finish_reason == "length"
        record = bench.sessions.stored(session)
        assert record.pending_ids == ()
        assert_session_is_whole(bench.sessions, session, model())
        reader = bench.ask([], greedy(5), session_id=session)
        assert reader.ids() == alone(model(), prompt, greedy(5))
        assert_session_is_whole(bench.sessions, session, model())


def test_an_append_of_nothing_feeds_what_is_pending() -> None:
    with running() as bench:
        session = bench.sessions.create().id
        said = bench.ask([1], greedy(3), session_id=session).ids()
        for turn in (2, 3):
            info = bench.ask([], greedy(0), session_id=session).finish.session
            assert info is not None
            assert (info.turn, info.num_tokens) == (turn, 4)
            assert_session_is_whole(bench.sessions, session, model())
        following = bench.ask([], greedy(3), session_id=session).ids()
        assert said + following == alone(model(), [1], greedy(6))


def test_repetition_penalty_sees_the_whole_session() -> None:
    prompt, params = [1, 2, 3, 4], greedy(6, repetition_penalty=50.0)
    with running() as bench:
        session = bench.sessions.create().id
        first = bench.ask(prompt, params, session_id=session).ids()
        second = bench.ask([], params, session_id=session).ids()
    assert first + second == alone(model(), prompt, greedy(12, repetition_penalty=50.0))


def test_eos_is_not_part_of_the_session() -> None:
    eos = model().config.eos_token_id
    assert eos is not None
    with running() as bench:
        session = bench.sessions.create().id
        params = SamplingParams(max_tokens=5, temperature=0.0, logit_bias={eos: 100.0})
        reader = bench.ask([1, 2], params, session_id=session)
        assert (reader.finish.finish_reason, reader.ids()) == ("stop", [])
        assert bench.sessions.token_ids(session) == [1, 2]
        assert_session_is_whole(bench.sessions, session, model())
        assert bench.ask([], greedy(4), session_id=session).ids() == alone(model(), [1, 2], greedy(4))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    stops=st.lists(
        st.lists(st.sampled_from(["a", "b", "c", "<a>"]), min_size=1, max_size=6).map("".join),
        min_size=1,
        max_size=4,
    ),
    turns=st.integers(1, 3),
)
def test_the_session_is_the_prompt_and_the_returned_text(seed: int, stops: list[str], turns: int) -> None:
    with running(max_num_seqs=2) as bench:
        session, text = bench.sessions.create().id, b""
        for turn in range(turns):
            prompt = list(b"xy") if turn < 2 else []
            reader = bench.ask(prompt, letters(seed + turn, stops), session_id=session)
            text += bytes(prompt) + reader.text()
            assert session_text(bench, session) == text
            assert_session_is_whole(bench.sessions, session, model())
            assert not any(stop.encode() in reader.text() for stop in stops)


def test_a_stop_under_random_delays_and_neighbours_leaves_one_and_the_same_state() -> None:
    seed = new_seed()
    draw = random_module.Random(seed)

    def delay(output: Output) -> None:
        time.sleep(draw.random() * 0.002)

    outcomes = set()
    for attempt in range(8):
        budget = draw.randint(4, 40)
        with running(max_num_seqs=4, max_num_batched_tokens=budget) as bench:
            session = bench.sessions.create().id
            noise = [bench.submit([i] * draw.randint(1, 50), random(i, 20)) for i in range(6 * (attempt % 2))]
            stops = ["cabc", "aabb", "bca"]
            reader = bench.ask([5] * 30, letters(seed, stops), session_id=session, hook=delay)
            record = bench.sessions.stored(session)
            state = (record.snapshot.to_bytes(), record.pending_ids, tuple(bench.sessions.token_ids(session)))
            outcomes.add((reader.text(), reader.finish.stop_reason, state))
            for other in noise:
                other.wait()
    assert len(outcomes) == 1


def test_a_stop_that_cuts_an_id_leaves_its_first_bytes_pending() -> None:
    abc = TOKEN_BYTES.index(b"abc")
    params = greedy(5, logit_bias={abc: 100.0}, stop=("cabca",))
    with running() as bench:
        session = bench.sessions.create().id
        reader = bench.ask([1], params, session_id=session)
        assert reader.text() == b"ab"
        assert reader.ids() == []
        record = bench.sessions.stored(session)
        assert record.pending_ids == (ord("a"), ord("b"))
        assert bench.sessions.token_ids(session) == [1, ord("a"), ord("b")]
        assert_session_is_whole(bench.sessions, session, model())
        assert bench.ask([], greedy(3), session_id=session).ids() == alone(
            model(), [1, ord("a"), ord("b")], greedy(3)
        )


def test_turns_are_whole_or_not_at_all_under_aborts_at_random_instants() -> None:
    seed = new_seed()
    draw = random_module.Random(seed)
    with running(max_num_seqs=3, max_num_batched_tokens=16) as bench:
        session, log = bench.sessions.create().id, list[int]()
        endings = set()
        for turn in range(60):
            prompt = [draw.randrange(VOCAB_SIZE) for _ in range(draw.randint(1, 30))]
            before = bench.sessions.get(session)
            reader = bench.submit(prompt, greedy(6), session_id=session, request_id=f"t{turn}")
            time.sleep(draw.random() * 0.008)
            if turn % 3:
                bench.engine.abort(f"t{turn}")
            reason = reader.wait().finish.finish_reason
            endings.add(reason)
            after = bench.sessions.get(session)
            if reason == "abort":
                assert after == before
            else:
                log += [*prompt, *reader.ids()]
                assert after == reader.finish.session
            assert bench.sessions.token_ids(session) == log
        assert_session_is_whole(bench.sessions, session, model())
        assert endings == {"abort", "length"}


def test_a_timeout_undoes_the_turn() -> None:
    with running() as bench:
        session = bench.sessions.create().id
        reader = bench.submit([1], greedy(10**9), session_id=session, deadline=time.monotonic() + 0.2).wait()
        assert isinstance(reader.failed and reader.failed.error, Timeout)
        assert bench.sessions.get(session).turn == 0
        bench.ask([1], greedy(1), session_id=session)


def submit_and_wait_for_tokens(bench: Bench, session: str) -> Reader:
    spoke = threading.Event()

    def notice(output: Output) -> None:
        if isinstance(output, Tokens) and output.completion_tokens > 3:
            spoke.set()

    reader = bench.submit([1, 2], greedy(10**9), session_id=session, hook=notice)
    assert spoke.wait(30)
    return reader


def test_cancel_ends_the_reply_and_answers_with_the_committed_session() -> None:
    with running() as bench:
        session = bench.sessions.create().id
        reader = submit_and_wait_for_tokens(bench, session)
        info = bench.cancel(session)
        assert reader.wait().finish.finish_reason == "cancelled"
        assert reader.finish.session == info
        assert (info.turn, info.num_tokens) == (1, 2 + len(reader.ids()))
        assert reader.ids() == alone(model(), [1, 2], greedy(len(reader.ids())))
        assert_session_is_whole(bench.sessions, session, model())
        assert bench.cancel(session) == info


def test_delete_ends_the_reply_with_an_error_and_frees_the_slot() -> None:
    with running(max_num_seqs=1) as bench:
        session = bench.sessions.create().id
        reader = submit_and_wait_for_tokens(bench, session)
        bench.delete(session)
        assert isinstance(reader.wait().failed and reader.failed.error, Conflict)
        with pytest.raises(NotFound):
            bench.cancel(session)
        bench.ask([1], greedy(1))


def test_a_busy_session_refuses_a_second_writer_and_keeps_the_first() -> None:
    with running() as bench:
        session = bench.sessions.create().id
        reader = submit_and_wait_for_tokens(bench, session)
        with pytest.raises(Conflict):
            bench.submit([1], greedy(1), session_id=session)
        assert bench.sessions.get(session).tier == "device"
        bench.cancel(session)
        assert reader.wait().finish.finish_reason == "cancelled"


def test_refused_requests_leave_the_session_free() -> None:
    with running(max_num_seqs=1, max_queue=0) as bench:
        session = bench.sessions.create().id
        for over, params, param in (
            ({"num_choices": 1}, greedy(1), "prompt"),
            ({"num_choices": 2}, greedy(1), "n"),
            ({}, greedy(1, prompt_logprobs=1), "echo"),
        ):
            with pytest.raises(BadRequest) as error:
                bench.submit([], params, session_id=session, **over)
            assert error.value.param == param
        with pytest.raises(Conflict):
            bench.submit([1], greedy(1), session_id=session, expected_turn=3)
        with pytest.raises(NotFound):
            bench.submit([1], greedy(1), session_id=session, owner="mallory")
        assert bench.sessions.running_request(session) is None
        bench.ask([1], greedy(1), session_id=session)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_leaves_nobody_waiting_and_no_session_busy() -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    served = tiny_model("gru", 0)
    served.step = die  # type: ignore[method-assign, assignment]  # replaced by the test
    bench = Bench(served)
    busy, idle = (bench.sessions.create().id for _ in range(2))
    bench.engine.start()
    assert bench.ask([1], greedy(1), session_id=busy).failed is not None
    until(lambda: not bench.engine.is_accepting)
    with pytest.raises(Unavailable):
        bench.submit([1], greedy(1), session_id=idle)
    assert bench.sessions.running_request(busy) is None
    assert bench.sessions.running_request(idle) is None


def test_the_next_turn_may_start_as_soon_as_the_last_event_is_seen() -> None:
    with running(max_num_seqs=1, max_queue=0) as bench:
        session = bench.sessions.create().id
        for _ in range(50):
            bench.ask([1], greedy(2), session_id=session)


def test_state_bytes_constant_in_length() -> None:
    with running(max_num_seqs=1, max_num_batched_tokens=512) as bench:
        session, total = bench.sessions.create().id, 0
        for count in (1, 999, 49_000):
            info = bench.ask([3] * count, greedy(0), session_id=session).finish.session
            total += count
            assert info is not None
            assert (info.num_tokens, info.state_bytes) == (total, state_bytes(model().config))
            assert info.history_bytes == 4 * total
        record = bench.sessions.stored(session)
        assert record.snapshot.nbytes == info.state_bytes
