from collections.abc import Generator
from concurrent.futures import Future
from threading import Event

import pytest
from pararnn_server.concurrency.futures import advance_into, begin_into, run_into
from pararnn_server.sessions.ledger import Ledger

from tests.server.engine_fixtures import running
from tests.server.session_fixtures import build_sessions


def test_a_cancelled_future_skips_its_function() -> None:
    future: Future[None] = Future()
    ran: list[int] = []
    assert future.cancel()
    run_into(future, lambda: ran.append(1))
    assert ran == []
    assert future.cancelled()


def test_a_future_gets_the_result_or_the_error() -> None:
    done: Future[int] = Future()
    failed: Future[int] = Future()
    run_into(done, lambda: 1)
    run_into(failed, lambda: 1 // 0)
    assert done.result() == 1
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_a_running_function_cannot_be_cancelled() -> None:
    future: Future[bool] = Future()
    run_into(future, future.cancel)
    assert future.result() is False


def test_a_long_job_whose_future_was_cancelled_does_none_of_its_pieces() -> None:
    future: Future[None] = Future()
    ran: list[int] = []
    assert future.cancel()
    assert not begin_into(future, pieces(ran))
    assert ran == []


def test_a_long_job_that_has_begun_cannot_be_cancelled_and_ends_with_its_result() -> None:
    future: Future[int] = Future()
    ran: list[int] = []
    job = pieces(ran)
    assert begin_into(future, job)
    assert not future.cancel()
    assert not advance_into(future, job)
    assert (ran, future.result()) == ([1, 2], 3)


def pieces(ran: list[int]) -> Generator[None, None, int]:
    ran.append(1)
    yield
    ran.append(2)
    return 3


def test_the_store_skips_a_question_that_was_cancelled_and_answers_the_next() -> None:
    """The same holds for a question whose answer is made in pieces."""
    ran: list[int] = []
    started, release = Event(), Event()
    sessions = build_sessions(threaded=True)

    def block(_: Ledger) -> None:
        started.set()
        release.wait(20)

    try:
        blocked = sessions.writer.call(block)
        assert started.wait(20)
        cancelled = [
            sessions.writer.call(lambda _: ran.append(1)),
            sessions.writer.call(lambda _: pieces(ran)),
        ]
        assert all(future.cancel() for future in cancelled)
        release.set()
        blocked.result(20)
        assert sessions.writer.call(lambda _: 2).result(20) == 2
    finally:
        sessions.close()
    assert ran == []


def test_the_engine_skips_a_call_that_was_cancelled() -> None:
    ran: list[int] = []
    started, release = Event(), Event()

    def block() -> None:
        started.set()
        release.wait(20)

    with running() as bench:
        blocked = bench.engine.call(block)
        assert started.wait(20)
        cancelled = bench.engine.call(lambda: ran.append(1))
        assert cancelled.cancel()
        release.set()
        blocked.result(20)
        assert bench.engine.call(lambda: 2).result(20) == 2
    assert ran == []
