"""Two servers and one redis: sessions go to and fro, and a server that slept too long writes nothing."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.serve_process import ServeProcess, serve_process
from tests.e2e.session_load import SessionClient, assert_nothing_lost
from tests.fixtures import tiny_checkpoint
from tests.nginx_proxy import is_installed, nginx_proxy
from tests.redis_server import redis_server

PAST_THE_LEASE = 13.0


def _pause(serve: ServeProcess) -> None:
    serve.process.send_signal(signal.SIGSTOP)
    time.sleep(PAST_THE_LEASE)
    serve.process.send_signal(signal.SIGCONT)


Way = Callable[[Path, Sequence[str]], AbstractContextManager[Callable[[], str]]]
"""A folder and the servers' urls -> where the next request goes."""


@contextmanager
def _at_random(folder: Path, urls: Sequence[str]) -> Iterator[Callable[[], str]]:
    draw = random.Random(random.SystemRandom().randrange(2**32))
    yield lambda: draw.choice(urls)


@contextmanager
def _through_nginx(folder: Path, urls: Sequence[str]) -> Iterator[Callable[[], str]]:
    """Yield the address of a proxy that gives each request to the next server."""
    (folder / "nginx").mkdir()
    with nginx_proxy(folder / "nginx", urls) as url:
        yield lambda: url


def _bounce(folder: Path, num_clients: int, seconds: float, way: Way) -> None:
    checkpoint = tiny_checkpoint(folder / "tiny")
    (folder / "redis").mkdir()
    with (
        redis_server(folder / "redis") as url,
        serve_process(checkpoint, "--store", url, "--threads", "1") as first,
        serve_process(checkpoint, "--store", url, "--threads", "1") as second,
        way(folder, [first.url, second.url]) as next_url,
    ):
        at_once, pause = threading.Semaphore(32), num_clients / 200
        clients = [SessionClient(number, next_url, 2.0, at_once, pause) for number in range(num_clients)]
        for client in clients:
            client.start()
        time.sleep(seconds / 2)
        _pause(first)
        time.sleep(seconds / 2)
        for client in clients:
            client.finish()
        for client in clients:
            client.join(60)
        turns = sum(len(client.acknowledged) for client in clients)
        print(f"{num_clients} sessions, {turns} turns, a pause of {PAST_THE_LEASE} s")
        assert turns > 2 * num_clients
        _let_leases_end()
        assert_nothing_lost(clients, second.url)


def _let_leases_end() -> None:
    """A turn that was under way when its client left may still hold one."""
    time.sleep(11)


@pytest.mark.timeout(300)
def test_sessions_bounce_between_two_servers_and_none_writes_after_its_lease(tmp_path: Path) -> None:
    _bounce(tmp_path, 8, 4.0, _at_random)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not is_installed, reason="needs nginx on the PATH")
def test_a_thousand_sessions_bounce_between_two_servers(tmp_path: Path) -> None:
    _bounce(tmp_path, 1000, 120.0, _through_nginx)
