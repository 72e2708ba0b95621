"""Streams: they end with their reader, stay alive in silence, and report errors."""

import asyncio
import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pararnn_server.models.loading import Loaded
from pararnn_server.text.text_encoder import OpenText

from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

PATHS = ("/v1/completions", "/v1/chat/completions")


def endless(path: str) -> dict[str, Any]:
    if "chat" not in path:
        return ENDLESS
    rest = {name: value for name, value in ENDLESS.items() if name != "prompt"}
    return {"messages": [{"role": "user", "content": "the"}], **rest}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_frees_its_slot(server: HttpServer, path: str, stream: bool) -> None:
    with connection(server, {**endless(path), "stream": stream}, path):
        eventually(lambda: server.busy_slots() == 1)
    eventually(lambda: server.busy_slots() == 0)


def test_client_that_leaves_frees_the_slots_of_all_its_choices(server: HttpServer) -> None:
    with connection(server, {**ENDLESS, "prompt": [[1], [2]], "n": 3, "stream": True}):
        eventually(lambda: server.busy_slots() == 6)
    eventually(lambda: server.busy_slots() == 0)


def test_client_that_leaves_a_session_leaves_its_last_turn(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    before = server.get(f"/v1/sessions/{session_id}").json()
    with connection(server, {**ENDLESS, "session_id": session_id, "stream": True}) as client:
        eventually(lambda: server.busy_slots() == 1)
        assert client.recv(4096)
    eventually(lambda: server.get(f"/v1/sessions/{session_id}").json()["tier"] == "host")
    assert server.get(f"/v1/sessions/{session_id}").json() == before


def test_client_that_leaves_the_queue_is_forgotten(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1) as server:
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            with connection(server, ENDLESS):
                eventually(lambda: server.metric("pararnn_num_requests_waiting") == 1)
            eventually(lambda: server.metric("pararnn_num_requests_waiting") == 0)
        eventually(lambda: server.busy_slots() == 0)


def test_full_queue_is_a_429_with_retry_after(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1, max_queue=1) as server, connection(server, ENDLESS):
        eventually(lambda: server.busy_slots() == 1)
        with connection(server, ENDLESS):
            eventually(lambda: server.metric("pararnn_num_requests_waiting") == 1)
            for stream in (True, False):
                response = server.post(PATHS[0], {**ENDLESS, "stream": stream})
                assert response.status_code == 429
                assert int(response.headers["retry-after"]) >= 1
                assert response.json()["error"]["code"] == "queue_full"


def test_wait_for_a_slot_that_is_too_long_is_a_429_before_any_header(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1, queue_timeout_seconds=0.2) as server, connection(server, ENDLESS):
        eventually(lambda: server.busy_slots() == 1)
        response = server.post(PATHS[0], {**ENDLESS, "stream": True})
        assert response.status_code == 429
        assert "retry-after" in response.headers
        assert response.json()["error"]["code"] == "queue_timeout"


def test_silent_stream_sends_pings(loaded: Loaded) -> None:
    with serving(loaded, stream_ping_seconds=0.05) as server:
        body = {"prompt": [1] * 400_000, "max_tokens": 1, "stream": True}
        with server.http.stream("POST", PATHS[0], json=body) as response:
            lines = list(response.iter_lines())
        assert lines[0] == ": ping"
        assert lines[-2] == "data: [DONE]"


@pytest.mark.parametrize("limit", [{"stream_max_lag_seconds": 0.5}, {"stream_max_lag_bytes": 4096}])
def test_reader_that_falls_behind_is_cut_off(loaded: Loaded, limit: dict[str, Any]) -> None:
    body = {**ENDLESS, "stream": True, "n": 32}
    with serving(loaded, send_buffer=4096, **limit) as server, connection(server, body):
        eventually(lambda: server.busy_slots() == 32)
        eventually(lambda: server.busy_slots() == 0)


def test_reader_that_keeps_up_is_not_cut_off(loaded: Loaded) -> None:
    limits = {"stream_max_lag_seconds": 0.1, "stream_max_lag_bytes": 100_000}
    with serving(loaded, send_buffer=4096, **limits) as server:
        events = server.events(PATHS[0], {**ENDLESS, "n": 32, "max_tokens": 100})
        assert (
            sum(choice["finish_reason"] == "length" for event in events for choice in event["choices"]) == 32
        )


@pytest.mark.parametrize("path", PATHS)
def test_failure_in_mid_stream_is_the_last_event(server: HttpServer, path: str) -> None:
    body = {**endless(path), "stream": True, "timeout": 1}
    with server.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert len(data) > 2
    assert json.loads(data[-1])["error"]["code"] == "request_timeout"


def test_stream_passes_proxies_unbuffered(server: HttpServer) -> None:
    with server.http.stream("POST", PATHS[0], json={**ENDLESS, "max_tokens": 1, "stream": True}) as response:
        assert b": ping" not in response.read()
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache"


def test_sixty_four_streams_give_the_tokens_of_each_alone(server: HttpServer) -> None:
    def text(seed: int) -> str:
        body = {"prompt": f"the {seed}", "seed": seed, "max_tokens": 24, "ignore_eos": True}
        events = server.events(PATHS[0], body)
        return "".join(choice["text"] for event in events for choice in event["choices"])

    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(text, range(64)))
    assert together == [text(seed) for seed in range(64)]


class SlowReading:
    """Stands in for the encoding of a text that has no end; counts the callers that gave up."""

    def __init__(self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = self.given_up = 0
        monkeypatch.setattr(loaded.tokenizer, "encode_open", self.encode)
        monkeypatch.setattr(loaded.tokenizer, "encode_parts", self.encode)

    async def encode(self, *_: Any, **__: Any) -> OpenText:
        self.begun += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        raise AssertionError("it was waited for")


@pytest.mark.parametrize("path", PATHS)
def test_reading_a_prompt_ends_with_the_timeout(
    server: HttpServer, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    reading = SlowReading(loaded, monkeypatch)
    refused = server.post(path, {**endless(path), "timeout": 0.2})
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "request_timeout")
    eventually(lambda: reading.given_up == reading.begun == 1)


@pytest.mark.parametrize("path", PATHS)
def test_reading_a_prompt_ends_when_the_client_leaves(
    server: HttpServer, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    reading = SlowReading(loaded, monkeypatch)
    with connection(server, endless(path), path):
        eventually(lambda: reading.begun == 1)
        assert not reading.given_up
    eventually(lambda: reading.given_up == 1)


def test_a_stop_under_random_delays_of_the_reader_leaves_one_and_the_same_state(server: HttpServer) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    letters = {str(ord("x") - 33): 100, str(ord("y") - 33): 99}
    outcomes = set()
    for _ in range(5):
        session_id = server.create_session(text="the")
        body = {
            "prompt": "a",
            "logit_bias": letters,
            "max_tokens": 60,
            "seed": 1,
            "stop": "yx",
            "stream": True,
        }
        received = b""
        with connection(server, {**body, "session_id": session_id}) as client:
            while b"[DONE]" not in received:
                time.sleep(draw.random() * 0.01)
                received += client.recv(draw.randint(1, 400))
        assert b'"finish_reason":"stop"' in received
        text = b"".join(re.findall(rb'"text":"([xy]*)"', received))
        num_tokens = server.get(f"/v1/sessions/{session_id}").json()["num_tokens"]
        after = server.complete("", session_id=session_id, temperature=0, max_tokens=6, logprobs=5)[
            "choices"
        ][0]
        outcomes.add((text, num_tokens, json.dumps([after["text"], after["logprobs"]])))
    assert len(outcomes) == 1
