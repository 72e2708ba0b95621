from concurrent.futures import Future
from threading import Event

import pytest
from pararnn_server.concurrency.futures import run_into

from tests.server.engine_fixtures import running


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
