"""Two servers on one store: a reply ends wherever it is cancelled, and with its session."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from pararnn_server.http.routes import sessions
from pararnn_server.models.loading import Loaded

from tests.redis_server import redis_server
from tests.server.http_server import ENDLESS, HttpServer, eventually, serving


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def pair(loaded: Loaded, redis_url: str, tmp_path: Path) -> Iterator[tuple[HttpServer, HttpServer]]:
    with ExitStack() as held:
        first, second = (held.enter_context(serving(loaded, store=redis_url)) for _ in range(2))
        yield first, second


class Stream(threading.Thread):
    """An endless reply of a session. events: all that came, once it has ended."""

    def __init__(self, server: HttpServer, session: str) -> None:
        super().__init__()
        self.server, self.session = server, session
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        body = {**ENDLESS, "session_id": self.session, "stream": True}
        with self.server.http.stream("POST", "/v1/completions", json=body) as answer:
            lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: {")]
        self.events = [json.loads(line) for line in lines]

    def result(self) -> dict[str, Any]:
        self.join(30)
        assert not self.is_alive(), "the stream did not end"
        return self.events[-1]


def test_a_reply_is_cancelled_at_the_other_server(pair: tuple[HttpServer, HttpServer]) -> None:
    first, second = pair
    session = first.create_session()
    for turn in (1, 2):
        stream = Stream(first, session)
        eventually(lambda: first.busy_slots() == 1)
        answer = second.post(f"/v1/sessions/{session}/cancel")
        assert answer.status_code == 200, answer.text
        last = stream.result()
        assert last["choices"][0]["finish_reason"] == "cancelled"
        assert answer.json()["turn"] == turn == last["session"]["turn"]
        assert answer.json()["num_tokens"] == last["session"]["num_tokens"] > 0
    assert second.post(f"/v1/sessions/{session}/cancel").status_code == 200


def test_a_reply_ends_when_its_session_is_deleted_at_the_other_server(
    pair: tuple[HttpServer, HttpServer],
) -> None:
    first, second = pair
    session = first.create_session()
    stream = Stream(first, session)
    eventually(lambda: first.busy_slots() == 1)
    assert second.http.delete(f"/v1/sessions/{session}").status_code == 200
    assert stream.result()["error"]["code"] == "lease_lost"
    eventually(lambda: first.busy_slots() == 0)


def test_a_server_that_does_not_answer_makes_cancelling_a_conflict(
    loaded: Loaded, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CANCEL_SECONDS", 0.3)
    with serving(loaded, store=redis_url) as server, redis.Redis.from_url(redis_url) as client:
        session = server.create_session()
        client.set(f"pararnn:l:{session}", 10**6, px=20_000)
        answer = server.post(f"/v1/sessions/{session}/cancel")
        assert answer.status_code == 409
        assert "another server" in answer.json()["error"]["message"]
        assert answer.headers["retry-after"] == "1"
