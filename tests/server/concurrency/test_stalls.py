"""/ready is a 503 with the reason when a thread that all requests share stalls; /health stays."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from pararnn_server.concurrency.stalls import Heartbeat, StallWatch, _Stall
from pararnn_server.errors import Unavailable
from pararnn_server.models.loading import Loaded
from pararnn_server.sessions.ledger import Ledger

from tests.server.http_server import HttpServer, eventually, serving

LIMIT = 0.5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_thread_that_stands_still_is_told_until_as_long_after_it_moved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    watch = StallWatch(10.0, {"event loop": heartbeat}, clock)
    watch.check()
    heartbeat.beat()
    clock.now += 9
    watch.check()
    clock.now += 3
    for _ in range(2):
        with pytest.raises(Unavailable, match="event loop did not move for 12 s") as error:
            watch.check()
    assert error.value.code == "stalled"
    assert sum("test_stalls.py" in record.message for record in caplog.records) == 1
    heartbeat.beat()
    clock.now += 9
    with pytest.raises(Unavailable):
        watch.check()
    heartbeat.beat()
    clock.now += 1
    watch.check()
    heartbeat.stop()
    clock.now += 100
    watch.check()


class SlowlyReadStall(_Stall):
    """A stall whose first reader of `is_on` waits briefly for a second one."""

    both = threading.Barrier(2)

    @property  # type: ignore[override]  # the base has an attribute
    def is_on(self) -> bool:
        seen = self.__dict__.get("seen", False)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.both.wait(0.5)
        return bool(seen)

    @is_on.setter
    def is_on(self, value: bool) -> None:
        self.__dict__["seen"] = value


def test_a_stall_that_two_threads_see_at_once_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pararnn_server.concurrency.stalls._Stall", SlowlyReadStall)
    clock = Clock()
    heartbeat = Heartbeat(clock)
    watch = StallWatch(10.0, {"event loop": heartbeat}, clock)
    heartbeat.beat()
    clock.now += 12
    lookers = [threading.Thread(target=watch.look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert sum("has not moved for 12 s" in record.message for record in caplog.records) == 1


@pytest.fixture
def server(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded, ready_stall_seconds=LIMIT) as made:
        eventually(lambda: made.get("/ready").status_code == 200)
        yield made


def reason(server: HttpServer) -> str:
    answer = server.get("/ready")
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def test_ready_tells_of_a_store_that_stands_still(server: HttpServer) -> None:
    assert len(server.service.models)
    goes_on = threading.Event()

    def stuck(_: Ledger) -> None:
        assert goes_on.wait(60)

    done = server.service.models.get().sessions.ask(stuck)
    eventually(lambda: "store's thread did not move" in reason(server))
    assert server.get("/health").status_code == 200
    lines = server.get("/metrics").text.splitlines()
    [still] = [line for line in lines if line.startswith("pararnn_thread_still_seconds") and "store" in line]
    assert float(still.rsplit(" ", 1)[1]) >= LIMIT
    goes_on.set()
    done.result(10)
    eventually(lambda: not reason(server))


def test_ready_tells_of_an_event_loop_that_stood_still(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no answer during the stall. The first answer after it is a refusal."""
    assert len(server.service.models)
    loop = server.service.models.get().dispatcher._loop
    with caplog.at_level(logging.ERROR):
        loop.call_soon_threadsafe(time.sleep, 3 * LIMIT)
        answer = httpx.get(f"{server.url}/ready", timeout=30)
    assert answer.status_code == 503
    assert "event loop did not move" in answer.json()["error"]["message"]
    assert "the event loop has not moved" in caplog.text
    eventually(lambda: not reason(server))
