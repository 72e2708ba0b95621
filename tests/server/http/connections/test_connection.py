"""Bytes that clients send on a connection: upgrades, old versions, half-closed sockets, floods."""

import contextlib
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pararnn_server.http.connections.open_connections import RESERVED_DESCRIPTORS, usable_connections
from pararnn_server.models.loading import Loaded

from tests.server.http_server import ENDLESS, HttpServer, eventually, serving
from tests.server.raw_socket import (
    COMPLETION,
    address,
    ask,
    head,
    open_socket,
    parse,
    post,
    read_all,
    read_answer,
)

KEY = "k" * 20
CLOSE = {"connection": "close"}
MiB = 1 << 20


@pytest.fixture(scope="module")
def hasty(loaded: Loaded) -> Iterator[HttpServer]:
    """A connection that waits at most half a second."""
    limits = {"head_timeout_seconds": 0.5, "body_timeout_seconds": 0.5, "keep_alive_seconds": 0.5}
    with serving(loaded, key=KEY, api_keys=f"one:{KEY}", **limits) as running:
        yield running


# Upgrades.


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0", "HTTP/2.0, foo/3"])
@pytest.mark.parametrize("connection", ["Upgrade, HTTP2-Settings", "keep-alive, upgrade"])
def test_upgrade_that_is_not_taken_is_ignored(server: HttpServer, upgrade: str, connection: str) -> None:
    headers = {"connection": connection, "upgrade": upgrade, "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    with open_socket(server) as client:
        for _ in range(2):
            client.sendall(post(headers=headers))
            answer = read_answer(client)
            assert answer.status == 200, answer.body
            assert "upgrade" not in answer.headers
            assert answer.json()["choices"] == server.complete(**COMPLETION)["choices"]


def test_upgrade_behind_another_request_is_ignored_too(server: HttpServer) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "h2c"}
    with open_socket(server) as client:
        client.sendall(head("GET /health HTTP/1.1", upgrade) + post(headers=upgrade))
        assert [read_answer(client).status for _ in range(2)] == [200, 200]


def test_chunked_body_with_an_upgrade_is_read(server: HttpServer) -> None:
    data = json.dumps(COMPLETION).encode()
    fields = {"content-type": "application/json", "transfer-encoding": "chunked", "upgrade": "h2c"}
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in data) + b"0\r\ntrailer: t\r\n\r\n"
    top = head("POST /v1/completions HTTP/1.1", fields | {"connection": "upgrade"})
    with open_socket(server) as client:
        for _ in range(2):
            client.sendall(top + chunks)
            assert read_answer(client).status == 200


@pytest.mark.parametrize(
    "data", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"{}\r\n\r\n"]
)
def test_what_is_no_http_1_is_a_400_at_once(server: HttpServer, data: bytes) -> None:
    answer = ask(server, data)
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"].startswith("req_")


def test_connect_is_refused(server: HttpServer) -> None:
    assert "proxy" in ask(server, head("CONNECT a:1 HTTP/1.1")).json()["error"]["message"]


# Clients of other ages and manners.


@pytest.mark.parametrize("lines", [["GET /health HTTP/1.0"], ["GET /v1/models HTTP/1.0"]])
def test_http_1_0_needs_no_host(server: HttpServer, lines: list[str]) -> None:
    answer = ask(server, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert answer.status == 200


def test_http_1_1_without_a_host_is_refused(server: HttpServer) -> None:
    assert ask(server, b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").status == 400


def test_http_1_0_gets_no_chunks(server: HttpServer) -> None:
    answer = ask(server, post(body={**COMPLETION, "stream": True}, version="1.0"))
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_http_1_1_gets_chunks(server: HttpServer) -> None:
    answer = ask(server, post(body={**COMPLETION, "stream": True}, headers=CLOSE))
    assert answer.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/openapi.json", "/nothing"])
def test_head_is_get_without_its_body(server: HttpServer, path: str) -> None:
    full, bare = (ask(server, head(f"{method} {path} HTTP/1.1", CLOSE)) for method in ("GET", "HEAD"))
    assert (bare.status, bare.body) == (full.status, b"")
    assert bare.headers["content-length"] == full.headers["content-length"] == str(len(full.body))


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("stream", [False, True])
def test_client_that_shuts_its_writing_side_gets_its_answer(
    server: HttpServer, version: str, stream: bool
) -> None:
    # Long enough for a probe.
    body = {"prompt": "the", "max_tokens": 300, "ignore_eos": True, "stream": stream}
    with open_socket(server) as client:
        client.sendall(post(body=body, version=version))
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    answer = parse(received)
    assert answer.status == 200
    assert b"length" in answer.body


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_frees_its_slot(
    server: HttpServer, version: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pararnn_server.http.connections.connection.HALF_CLOSED_SECONDS", 0.3)
    with open_socket(server) as client:
        client.sendall(post(body={**ENDLESS, "stream": stream}, version=version))
        eventually(lambda: server.busy_slots() == 1)
    eventually(lambda: server.busy_slots() == 0)


def test_answer_comes_before_an_unwanted_body_is_sent(hasty: HttpServer) -> None:
    with open_socket(hasty) as client:
        client.sendall(head("POST /v1/completions HTTP/1.1", {"content-length": str(30 * MiB)}))
        answer = read_answer(client)
        assert (answer.status, answer.headers["connection"]) == (401, "close")


def test_client_that_sends_a_large_body_first_still_reads_its_refusal(hasty: HttpServer) -> None:
    data = b"x" * (8 * MiB)
    assert ask(hasty, head("POST /v1/x HTTP/1.1", {"content-length": str(len(data))}) + data).status == 401


def test_connection_is_kept_after_a_small_unwanted_body(hasty: HttpServer) -> None:
    with open_socket(hasty) as client:
        for _ in range(3):
            client.sendall(head("POST /v1/completions HTTP/1.1", {"content-length": "5"}))
            assert read_answer(client).status == 401
            client.sendall(b"12345")


# No end of it.


@pytest.mark.parametrize(
    "flood",
    [
        b"GET / HTTP/1.1\r\nx: " + b"a" * MiB,
        b"GET /" + b"a" * MiB,
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 101 + b"\r\n",
        b"G" * MiB,
    ],
)
def test_head_without_end_is_a_431(server: HttpServer, flood: bytes) -> None:
    answer = ask(server, flood)
    assert (answer.status, answer.headers["connection"]) == (431, "close")
    assert answer.json()["error"]["code"] == "head_too_large"


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nx: 1", b"G"])
def test_head_that_does_not_end_in_time_is_a_408(hasty: HttpServer, begun: bytes) -> None:
    answer = ask(hasty, begun)
    assert (answer.status, answer.json()["error"]["code"]) == (408, "request_too_slow")


def test_head_that_drips_is_cut_as_well(hasty: HttpServer) -> None:
    with open_socket(hasty) as client:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                client.sendall(b"a")

        thread = threading.Thread(target=drip, daemon=True)
        client.sendall(b"GET /")
        thread.start()
        answer = read_answer(client)
        stop.set()
        thread.join()
    assert answer.status == 408


@pytest.mark.parametrize("first", [b"", head("GET /health HTTP/1.1")])
def test_idle_connection_is_closed(hasty: HttpServer, first: bytes) -> None:
    with open_socket(hasty) as client:
        client.sendall(first)
        if first:
            assert read_answer(client).status == 200
        assert client.recv(1) == b""


@pytest.mark.parametrize("sent", [0, 10, 2 * MiB])
def test_body_that_stands_still_is_a_408(hasty: HttpServer, sent: int) -> None:
    headers = {"content-length": str(4 * MiB), "content-type": "application/json", "x-api-key": KEY}
    answer = ask(hasty, head("POST /v1/completions HTTP/1.1", headers) + b" " * sent)
    assert (answer.status, answer.json()["error"]["code"]) == (408, "request_too_slow")
    assert answer.headers["connection"] == "close"
    eventually(lambda: hasty.service.bodies.held_bytes == 0)


@pytest.mark.parametrize(
    "junk", [b"1;" + b"x" * MiB, b"0\r\nx: " + b"a" * MiB, b"0\r\n" + b"a:b\r\n" * 10**5]
)
def test_chunks_padded_without_end_are_cut(server: HttpServer, junk: bytes) -> None:
    fields = {"content-type": "application/json", "transfer-encoding": "chunked"}
    assert ask(server, head("POST /v1/completions HTTP/1.1", fields) + junk).status == 400


def test_broken_chunks_are_a_400(server: HttpServer) -> None:
    fields = {"content-type": "application/json", "transfer-encoding": "chunked"}
    assert ask(server, head("POST /v1/completions HTTP/1.1", fields) + b"zz\r\n").status == 400


def test_requests_that_are_sent_ahead_are_answered_in_order(server: HttpServer) -> None:
    with open_socket(server) as client:
        client.sendall(b"".join(head(f"GET /none/{i} HTTP/1.1") for i in range(50)))
        for i in range(50):
            message = read_answer(client).json()["error"]["message"]
            assert message.startswith(f"There is nothing at /none/{i}: ")


def test_too_many_requests_ahead_end_the_connection_after_an_answer(server: HttpServer) -> None:
    ahead = head("GET /health HTTP/1.1") * 2000
    with open_socket(server) as client:
        client.sendall(post(body={"prompt": "the", "max_tokens": 200, "ignore_eos": True}) + ahead)
        first = read_answer(client)
        assert first.status == 200
        assert read_answer(client).status == 431
        assert read_all(client) == b""


def test_client_that_reads_no_answer_is_answered_little_and_cut(
    loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    """Few requests are answered while answers wait in the kernel and in this process."""
    caplog.set_level(logging.INFO, "pararnn.access")
    with serving(loaded, send_buffer=4096, stream_max_lag_seconds=1.0) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.2)
        client.connect(address(server))
        ahead = head("GET /openapi.json HTTP/1.1") * 20
        end = time.monotonic() + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    client.send(ahead)
    answered = [record for record in caplog.records if record.name == "pararnn.access"]
    assert 1 <= len(answered) <= 50


# How many.


def test_one_connection_too_many_ends_the_one_that_waited_longest(loaded: Loaded) -> None:
    with serving(loaded, max_connections=4) as server, ExitStack() as stack:
        idle, begun, *_ = [stack.enter_context(open_socket(server)) for _ in range(4)]
        idle.sendall(head("GET /health HTTP/1.1"))
        assert read_answer(idle).status == 200
        begun.sendall(b"GET / HT")
        for _ in range(20):
            late = stack.enter_context(open_socket(server))
            late.sendall(head("GET /health HTTP/1.1"))
            assert read_answer(late).status == 200
        assert begun.recv(1) == b""
        assert idle.recv(1) == b""


def test_connections_that_are_being_answered_are_never_ended_for_another(loaded: Loaded) -> None:
    with serving(loaded, max_connections=3) as server, ExitStack() as stack:
        busy = [stack.enter_context(open_socket(server)) for _ in range(3)]
        for client in busy:
            client.sendall(post(body={**ENDLESS, "stream": True}))
            assert client.recv(12) == b"HTTP/1.1 200"
        refused = ask(server, b"")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "too_many_connections")
        assert refused.headers["retry-after"] == "1"
        for client in busy:
            assert client.recv(1)
        busy.pop().close()
        eventually(lambda: ask(server, head("GET /health HTTP/1.1", CLOSE)).status == 200)


def test_connections_leave_descriptors_for_everything_else() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        usable = usable_connections(1 << 20)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert usable == min(1 << 20, limit - RESERVED_DESCRIPTORS)
        assert usable_connections(10) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
