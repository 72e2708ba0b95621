"""A connection costs little for any input before its key is known, counted on a transport of our own."""

import asyncio
import functools
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.http.connections.connection import Connection
from pararnn_server.http.connections.connection_limits import limits_of
from pararnn_server.http.connections.open_connections import OpenConnections
from pararnn_server.settings.server_settings import Settings
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

KiB = 1 << 10
MOST = 64 * KiB
READ = 250 * KiB  # the most that uvloop reads at once
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class UnreadTransport(asyncio.Transport):
    """A transport to a client that sends and never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.high = MOST
        self.reads = True
        self.closing = False
        self.ended = False
        self.protocol: Connection | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or MOST

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        before, self.unsent = self.unsent, self.unsent + len(data)
        if before <= self.high < self.unsent and self.protocol is not None:
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the server does for an unknown key."""
    headers = [(b"content-length", b"300"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 300})


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer that takes long."""
    await asyncio.Event().wait()


@functools.cache
def config(app: App) -> Config:
    return Config(app, lifespan="off", ws="none", log_config=None)


def opened(app: App) -> tuple[Connection, UnreadTransport]:
    connection = Connection(
        limits_of(Settings()),
        OpenConnections(10_000),
        config=config(app),
        server_state=ServerState(),
        app_state={},
    )
    transport = UnreadTransport()
    connection.connection_made(transport)
    transport.protocol = connection
    return connection, transport


async def feed(connection: Connection, transport: UnreadTransport, data: bytes) -> None:
    """Feed data as the event loop does: nothing while reading is paused or after the end."""
    for start in range(0, len(data), READ):
        if transport.reads and not transport.closing:
            connection.data_received(data[start : start + READ])
        for _ in range(5):
            await asyncio.sleep(0)


async def close(connection: Connection) -> None:
    for task in list(connection.tasks):
        task.cancel()
    connection.connection_lost(None)
    await asyncio.sleep(0)


PIECES = [
    b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n",
    b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET /",
    b"a" * 3000,
    b"x: y\r\n",
    b"\r\n",
    b"ffff\r\n",
    b"0\r\n",
    b"\x00\xff",
]


@settings(max_examples=60)
@given(
    app=st.sampled_from([refuse, never]),
    parts=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 3000)), max_size=8),
)
def test_no_sequence_of_bytes_costs_more_than_its_bound(app: App, parts: list[tuple[bytes, int]]) -> None:
    async def run() -> None:
        connection, transport = opened(app)
        for piece, times in parts:
            await feed(connection, transport, (piece * times)[: 4 << 20])
            # An application that does not read a body has what one read brings of it.
            allowed = MOST if app is refuse else MOST + 64 * KiB + READ
            assert connection.held_bytes + transport.unsent <= allowed
        await close(connection)

    asyncio.run(run())


FLOODS = {
    "header without end": b"GET / HTTP/1.1\r\nx: " + b"a" * (1 << 18),
    "headers without end": b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 50_000,
    "fields as many as may be": b"GET / HTTP/1.1\r\n" + b"".join(b"h%d:v\r\n" % i for i in range(100)),
    "url without end": b"GET /" + b"a" * (1 << 18),
    "requests sent ahead": b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n" * 8_000,
    "largest head": b"GET / HTTP/1.1\r\nx: " + b"a" * (16 * KiB - 100) + b"\r\n\r\n",
    "unwanted body": b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n" + b"a" * (1 << 18),
    "body of many chunks": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("size", [1400, READ])
def test_memory_of_a_connection_is_bounded(flood: bytes, size: int) -> None:
    """All of it, the objects around the bytes included."""

    async def run() -> float:
        num = 5
        connections = []
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(num):
                connection, transport = opened(refuse)
                connections.append((connection, transport))
                for start in range(0, min(len(flood), 30 * size), size):
                    await feed(connection, transport, flood[start : start + size])
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for connection, _ in connections:
            await close(connection)
        return (after - before) / num + max(transport.unsent for _, transport in connections)

    assert asyncio.run(run()) <= MOST


def test_work_for_a_head_grows_with_its_bytes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that comes in pieces is parsed once: the parser sees no byte of one that is refused."""

    async def run(data: bytes) -> int:
        connection, transport = opened(refuse)
        seen = 0
        parser = connection.parser

        class Counting:
            def feed_data(self, piece: bytes) -> None:
                nonlocal seen
                seen += len(piece)
                parser.feed_data(piece)

            def __getattr__(self, name: str) -> Any:
                return getattr(parser, name)

        monkeypatch.setattr(connection, "parser", Counting())
        for start in range(0, len(data), 100):
            await feed(connection, transport, data[start : start + 100])
        await close(connection)
        return seen

    assert asyncio.run(run(FLOODS["header without end"])) == 0
    assert asyncio.run(run(FLOODS["largest head"])) == len(FLOODS["largest head"])
