"""Answers that wait for their readers are counted in the budget of bodies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, eventually, serving

# Far more bytes than a kernel takes for a reader that reads nothing.
TEXT, OPENING = " the" * 75_000, " the" * 40_000
MOST = 1_000_000


@pytest.fixture(scope="module")
def server(loaded: Loaded) -> Iterator[HttpServer]:
    """It holds a few answers at once, and the kernel takes little of them."""
    sizes = {
        "max_body_bytes": MOST // 2,
        "max_inflight_body_bytes": MOST,
        "key_max_inflight_body_bytes": MOST,
    }
    with serving(loaded, send_buffer=4096, **sizes) as running:
        yield running


def stalled(server: HttpServer, path: str) -> socket.socket:
    """A client that sends a request and reads nothing."""
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return client


def paths(server: HttpServer) -> list[str]:
    """List the paths of an export, of the items of a response, and of a response."""
    session_id = server.create_session(tokens=[65] * 75_000)
    fields = {"input": TEXT, "instructions": OPENING, "max_output_tokens": 1}
    response_id = server.answer("/v1/responses", fields)["id"]
    path = f"/v1/responses/{response_id}"
    return [f"/v1/sessions/{session_id}/state?tokens=true", f"{path}/input_items", path]


def test_answers_that_nobody_reads_are_bounded_in_bytes(server: HttpServer) -> None:
    answers = {path: server.get(path).content for path in paths(server)}
    for path, content in answers.items():
        check_bounded(server, path, content)


def check_bounded(server: HttpServer, path: str, content: bytes) -> None:
    with ExitStack() as clients:
        for _ in range(12):
            clients.enter_context(stalled(server, path))
        eventually(lambda: server.service.bodies.held_bytes > MOST // 2)
        eventually(lambda: server.get(path).status_code == 429)
        assert server.service.bodies.held_bytes <= MOST
    # Requests of clients that have left may still arrive.
    eventually(lambda: server.get(path).content == content)
