"""P4: turns that were acknowledged survive SIGKILL of the server at any instant."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.core.models.rwkv7 import tiny as rwkv7
from tests.e2e.serve_process import ServeProcess
from tests.e2e.session_load import SessionClient, assert_nothing_lost
from tests.fixtures import tiny_checkpoint

CLIENTS = 16


class Mortal:
    """A server that is killed and started again over the same store."""

    def __init__(self, folder: Path, checkpoint: Callable[[Path], Path] = tiny_checkpoint) -> None:
        self._checkpoint = checkpoint(folder / "tiny")
        self._options = ("--store", "sqlite", "--data-dir", str(folder / "data"), "--threads", "1")
        self.restarts: list[float] = []
        self.serve = self._start()

    @property
    def url(self) -> str:
        return self.serve.url

    def _start(self) -> ServeProcess:
        began = time.monotonic()
        serve = ServeProcess(self._checkpoint, *self._options)
        if "curl" not in serve.welcome:
            serve.process.kill()
            raise AssertionError(f"the server did not start: {serve.welcome}")
        self.restarts.append(time.monotonic() - began)
        return serve

    def kill(self) -> None:
        self.serve.process.kill()
        self.serve.process.wait()
        if self.serve.process.stdout is not None:
            self.serve.process.stdout.close()

    def kill_and_start(self) -> None:
        self.kill()
        self.serve = self._start()


def _kill_under_load(folder: Path, kills: int, checkpoint: Callable[[Path], Path] = tiny_checkpoint) -> None:
    seed = random.SystemRandom().randrange(2**32)
    draw, server = random.Random(seed), Mortal(folder, checkpoint)
    clients = [SessionClient(number, lambda: server.url) for number in range(CLIENTS)]
    try:
        for client in clients:
            client.start()
        for _ in range(kills):
            time.sleep(0.2 + draw.random())
            server.kill_and_start()
        time.sleep(0.5)
        for client in clients:
            client.finish()
        for client in clients:
            client.join(60)
        turns = sum(len(client.acknowledged) for client in clients)
        restarts = sorted(server.restarts)
        print(
            f"seed {seed}: {kills} kills, {turns} turns acknowledged,"
            f" start {restarts[len(restarts) // 2]:.1f} s in the middle, {restarts[-1]:.1f} s at most"
        )
        assert turns > CLIENTS
        assert_nothing_lost(clients, server.url)
    finally:
        server.kill()


def test_no_acknowledged_turn_is_lost_and_none_is_half(tmp_path: Path) -> None:
    _kill_under_load(tmp_path, 5)


def test_none_of_an_rwkv7_is_lost_either(tmp_path: Path) -> None:
    _kill_under_load(tmp_path, 2, rwkv7.checkpoint)


def test_a_response_that_was_cut_off_is_answered_after_the_restart(tmp_path: Path) -> None:
    server, key = Mortal(tmp_path), {"idempotency-key": "K"}
    body: dict[str, Any] = {"input": "the", "max_output_tokens": 100_000, "ignore_eos": True, "stream": True}
    try:
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{server.url}/v1/responses", json=body, headers=key) as cut,
            suppress(httpx.HTTPError),
        ):
            next(cut.iter_lines())
            server.kill_and_start()
        body |= {"max_output_tokens": 4, "stream": False}
        again = httpx.post(f"{server.url}/v1/responses", json=body, headers=key, timeout=60)
        assert again.status_code == 200, again.text
    finally:
        server.kill()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_acknowledged_turn_is_lost_in_a_hundred_kills(tmp_path: Path) -> None:
    _kill_under_load(tmp_path, 100)
