"""Clients that continue one session each, also when servers fail, and record the answers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import httpx

SETTLED = (200, 201)
FROM_A_PROXY = (502, 504)
"""It did not reach the server, or did not wait for its answer."""
REPLY_TOKENS = 6
VOCABULARY = 256


def prompt_of(client: int, turn: int) -> list[int]:
    """Return a client's prompt of a turn, the same in every run."""
    return random.Random(client * 10_007 + turn).choices(range(VOCABULARY), k=5)


def turn_body(client: int, turn: int, session_id: str) -> dict[str, Any]:
    return {
        "prompt": prompt_of(client, turn),
        "session_id": session_id,
        "expected_turn": turn,
        "max_tokens": REPLY_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 1,
    }


class SessionClient(threading.Thread):
    """Take turns until stopped. After a failure send the same turn again with the same key.

    urls: called before each try for where to send it. at_once: lets a turn begin; many clients may share it.
    pause: seconds between turns, so that all clients of a session have their turn
    """

    def __init__(
        self,
        number: int,
        urls: Callable[[], str],
        timeout: float = 20.0,
        at_once: AbstractContextManager[Any] | None = None,
        pause: float = 0.0,
    ) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.session_id = ""
        self.acknowledged: list[Any] = []
        self.lost: list[str] = []
        self.tries = 0
        self._urls = urls
        self._at_once = at_once or nullcontext()
        self._pause = pause
        self._http = httpx.Client(timeout=timeout)
        self._is_over = threading.Event()

    def finish(self) -> None:
        self._is_over.set()

    def run(self) -> None:
        with self._http:
            self._take_turns()

    def _take_turns(self) -> None:
        with self._at_once:
            created = self._until_settled("POST", "/v1/sessions", {}, "")
        if created is None:
            return
        self.session_id = created["id"]
        while not self._is_over.is_set():
            turn = len(self.acknowledged)
            body = turn_body(self.number, turn, self.session_id)
            with self._at_once:
                answer = self._until_settled("POST", "/v1/completions", body, f"turn-{turn}")
            if answer is None:
                return
            self._note(turn, answer)
            self._is_over.wait(self._pause)

    def _note(self, turn: int, answer: Any) -> None:
        stamp = answer["session"]
        if (stamp["turn"], stamp["num_tokens"]) != (turn + 1, (turn + 1) * (5 + REPLY_TOKENS)):
            self.lost.append(f"turn {turn} was answered as {stamp}")
        self.acknowledged.append(answer["choices"])

    def _until_settled(self, method: str, path: str, body: Any, key: str) -> Any:
        """Return the answer, or None once stopped. A busy session or an unreachable server is tried again."""
        headers = {"idempotency-key": key} if key else {}
        while not self._is_over.is_set():
            self.tries += 1
            try:
                url = self._urls() + path
                response = self._http.request(method, url, json=body, headers=headers)
            except httpx.TransportError:
                self._is_over.wait(0.5)
                continue
            if response.status_code in SETTLED:
                return response.json()
            if response.status_code in FROM_A_PROXY:
                self._is_over.wait(0.5)
                continue
            code = response.json()["error"]["code"]
            if code not in ("session_busy", "lease_lost", "loading", "draining", "store_unreachable"):
                self.lost.append(f"{path} was refused: {response.text}")
                return None
            self._is_over.wait(0.1)
        return None


def assert_nothing_lost(clients: Sequence[SessionClient], url: str) -> None:
    """Every session is at its acknowledged turns, or one running turn later, and equals a twin."""
    with httpx.Client(base_url=url, timeout=60) as http:
        for client in clients:
            assert client.lost == []
            assert client.session_id
            _assert_whole(client, http)
            _assert_as_a_twin(client, http)


def _assert_whole(client: SessionClient, http: httpx.Client) -> None:
    acknowledged = len(client.acknowledged)
    session = http.get(f"/v1/sessions/{client.session_id}").raise_for_status().json()
    assert session["turn"] in (acknowledged, acknowledged + 1)
    assert session["num_tokens"] == session["turn"] * (5 + REPLY_TOKENS)
    assert [turn["turn"] for turn in session["turns"]] == list(range(1, session["turn"] + 1))[-256:]
    if session["turn"] > acknowledged:
        key = {"idempotency-key": f"turn-{acknowledged}"}
        client.acknowledged.append(_turn(http, client.number, acknowledged, client.session_id, key))


def _assert_as_a_twin(client: SessionClient, http: httpx.Client) -> None:
    """A session that was never interrupted, and one turn beyond both."""
    twin = http.post("/v1/sessions", json={}).raise_for_status().json()["id"]
    for turn, choices in enumerate(client.acknowledged):
        assert _turn(http, client.number, turn, twin) == choices
    turns = len(client.acknowledged)
    beyond = [_turn(http, client.number, turns, session) for session in (twin, client.session_id)]
    assert beyond[0] == beyond[1]


def _turn(
    http: httpx.Client, client: int, turn: int, session_id: str, headers: dict[str, str] | None = None
) -> Any:
    response = http.post("/v1/completions", json=turn_body(client, turn, session_id), headers=headers)
    return response.raise_for_status().json()["choices"]
