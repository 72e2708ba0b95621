"""Connections: how much a client may send and how long it may take, before its key is known and after."""

from __future__ import annotations

import logging
from asyncio import Event, Transport
from enum import Enum, auto
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pararnn_server.concurrency.deadline import Deadline
from pararnn_server.errors import BadRequest, HeadTooLarge, ServerError, TooSlow, Unavailable
from pararnn_server.http.connections.connection_limits import ConnectionLimits
from pararnn_server.http.connections.exchange import Exchange
from pararnn_server.http.connections.open_connections import OpenConnections
from pararnn_server.http.connections.raw_answer import raw_answer
from pararnn_server.http.connections.request_body import BodyProgress
from pararnn_server.http.connections.request_head import HeadCollector, without_upgrade
from pararnn_server.http.request_id import new_request_id
from pararnn_server.http.request_state import RequestState, begin_request_state

# Bytes that wait in this process for a client to read them, before the application waits too.
HIGH_WATER_BYTES: Final = 32 << 10
# Bytes that are still unread when a connection closes reset it, and the client loses its answer.
LINGER_SECONDS: Final = 2.0
# A client that has shut its writing side looks like one that has left, until something is written to it. An
# answer under way is that; before it there is only an interim one.
PROBE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBE_SECONDS: Final = (0.25, 0.25, 1.0)
# HTTP/1.0 has no interim answers to probe with.
HALF_CLOSED_SECONDS: Final = 5.0

_access = logging.getLogger("pararnn.access")


class Phase(Enum):
    """DRAINING: the request is answered, and the rest of its body is yet to come."""

    IDLE = auto()
    HEAD = auto()
    REQUEST = auto()
    DRAINING = auto()
    CLOSING = auto()


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol within limits.

    The parser gets whole heads only, and the next one when the answer to the one before is complete. Further
    requests wait in the kernel, but for those that one read has brought.
    """

    cycle: Exchange

    def __init__(self, limits: ConnectionLimits, connections: OpenConnections, **base: Any) -> None:
        super().__init__(**base)
        self._limits = limits
        self._open_connections = connections
        self._phase = Phase.HEAD
        self._head = HeadCollector(limits.max_head_bytes, limits.max_headers)
        self._body = BodyProgress(limits.max_head_bytes)
        self._pending = b""
        self._is_overrun = False
        self._request = RequestState()
        self._num_probes: int | None = None
        self._unsent = 0
        # One timer for all phases: a connection waits for one thing at a time.
        self._deadline = Deadline(self.loop, self._on_deadline)

    @property
    def held_bytes(self) -> int:
        """Bytes of requests that are kept in this process and that no application has taken yet."""
        body = 0 if self.cycle is None else len(self.cycle.body)
        return self._head.num_bytes + len(self._pending) + body

    # The transport calls these.

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as the base does
        """The head of the first request must come in time."""
        super().connection_made(transport)
        # A slow reader then makes the application wait, and its reply does not pile up here.
        transport.set_write_buffer_limits(HIGH_WATER_BYTES)
        if self._open_connections.opened(self):
            self._deadline.set(self._limits.head_seconds)
            return
        message = "The server has as many connections as it may; try again."
        error = Unavailable(message, code="too_many_connections", headers={"retry-after": "1"})
        self._refuse(error, lingers=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the application, if there is one."""
        super().connection_lost(exc)
        self._open_connections.lost(self)
        self._deadline.close()
        self._phase, self._pending = Phase.CLOSING, b""

    def data_received(self, data: bytes) -> None:
        """Hand on what belongs to the request under way, and keep the rest within bounds."""
        try:
            while data and self._phase is not Phase.CLOSING:
                if not self._body.is_whole:
                    data = self._take_body(data)
                elif self._phase is not Phase.REQUEST:
                    data = self._take_head(data)
                else:
                    data = self._hold(data)
        except ServerError as error:
            self._refuse(error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(BadRequest("This is not a valid HTTP/1.1 request."))

    def eof_received(self) -> bool:  # type: ignore[override]  # the base never keeps a connection open
        """A client that has only shut its writing side still gets the answer that it waits for."""
        waits = self._phase is Phase.REQUEST and self._body.is_whole
        if waits:
            self.cycle.end_connection()
            self._request.is_half_closed = True
            self._num_probes = 0
        if waits and not self.cycle.response_started:
            # An answer that has begun is a probe itself.
            self._deadline.set(PROBE_SECONDS[0] if self._can_probe else HALF_CLOSED_SECONDS)
        return waits

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        # Reading is measured from here: a slow reader is kept, one that stopped is not.
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline.set(self._limits.stalled_seconds)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._phase is Phase.REQUEST:
            self._deadline.clear()
        elif self._phase is Phase.IDLE:
            self._deadline.set(self._limits.idle_seconds)
            self._read_next()

    # The parser calls these.

    def on_message_begin(self) -> None:
        """A new request."""
        if self._body.is_whole:
            raise _BehindChunks
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Fields behind a chunked body are dropped, as RFC 9110, 6.5.1, allows."""
        if self._phase is Phase.REQUEST:
            return
        name = name.lower()
        if name == b"content-length":
            self._body.announce(int(value))
        elif name == b"transfer-encoding":
            self._body.is_chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the application."""
        scope, version = self.scope, self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["raw_path"], path = url.path, url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        self._request = begin_request_state(cast("Scope", scope))
        self.cycle = Exchange(
            wire=self,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self._phase = Phase.REQUEST
        self._deadline.clear()
        self._open_connections.works(self)
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.got(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        self._body.is_whole = True
        super().on_message_complete()
        if self._phase is Phase.DRAINING:
            self._next_request()
        elif not self.flow.write_paused:
            self._deadline.clear()

    # The exchange calls these.

    def awaits_body(self) -> None:
        """Start the clock of the body."""
        if not self._deadline.is_set:
            self._body.start_clock()
            self._deadline.set(self._limits.body_seconds)

    def can_drain(self) -> bool:
        """Return False for the rest of a large or late body."""
        return self._body.can_be_drained and not self.cycle.is_late

    def on_response_complete(self) -> None:
        """The next request, or the end of the connection."""
        self.server_state.total_requests += 1
        # The connection may stay open for long, and nobody reads these bytes any more.
        self.cycle.body = bytearray()
        if self.transport.is_closing():
            return
        if self._is_overrun:
            message = "Too many requests wait behind one that is being answered; wait for its answer."
            self._refuse(HeadTooLarge(message))
        elif self.cycle.closes:
            self._close(lingers=bool(self._pending) or not self._body.is_whole)
        elif self._body.is_whole:
            self._next_request()
        else:
            self._wait(Phase.DRAINING, self._limits.head_seconds)
            self.flow.resume_reading()

    def application_ended(self) -> None:
        """One that broke its answer off has closed the transport, which waits until the rest is read."""
        if self.transport.is_closing() and self._phase is Phase.REQUEST:
            self._wait(Phase.CLOSING, LINGER_SECONDS)

    # OpenConnections calls this.

    def evict(self) -> None:
        """Make room for another connection."""
        self._close(lingers=False)

    # Requests, one after the other.

    def _take_head(self, data: bytes) -> bytes:
        head, rest = self._head.add(data)
        if head is None:
            # From the first byte on it is a slow head, no longer an idle connection.
            if self._phase is Phase.IDLE and self._head.num_bytes:
                self._wait(Phase.HEAD, self._limits.head_seconds)
            return b""
        # The parser would take all that follows for a tunnel's bytes.
        if head.startswith(b"CONNECT "):
            raise BadRequest("This server is no proxy: it does not take CONNECT.")
        self._body.begin()
        # Whole heads only, so that an unknown key costs bytes but no parsing.
        self.parser.feed_data(without_upgrade(head))
        if self._phase is not Phase.REQUEST:
            raise BadRequest("The head of the request is not valid HTTP/1.1.")
        return rest

    def _take_body(self, data: bytes) -> bytes:
        piece = self._body.cut(data)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserCallbackError:
            if not self._body.is_whole:
                raise
            # Only the parser knows where chunks end, and it has read into the next request, which is lost:
            # a client that sends ahead must be ready for the connection to end.
            self.cycle.end_connection()
        if self._body.is_padded:
            raise BadRequest("Chunk extensions or trailers of the body are too long.")
        return data[len(piece) :]

    def _hold(self, data: bytes) -> bytes:
        self.flow.pause_reading()
        self._pending += data
        # One read may bring more than the kernel was asked to hold back.
        if len(self._pending) > self._limits.max_head_bytes:
            self._pending, self._is_overrun = b"", True
            self.cycle.end_connection()
        return b""

    def _next_request(self) -> None:
        if self.flow.write_paused:
            # Answers that nobody reads must not pile up.
            self.flow.pause_reading()
            self._wait(Phase.IDLE, self._limits.stalled_seconds)
        else:
            self._wait(Phase.IDLE, self._limits.idle_seconds)
            self._read_next()

    def _read_next(self) -> None:
        if self._pending:
            # Not at once: the parser may be calling this, and must not be entered again.
            self.loop.call_soon(self._take_pending)
        else:
            self.flow.resume_reading()

    def _take_pending(self) -> None:
        if self._phase is Phase.IDLE:
            pending, self._pending = self._pending, b""
            self.flow.resume_reading()
            self.data_received(pending)

    def _refuse(self, error: ServerError, *, lingers: bool = True) -> None:
        """Answer in place of the application, and close."""
        has_begun = False
        if self._phase is Phase.REQUEST and not self.cycle.response_complete:
            # The application may still write: uvicorn drops what comes after a disconnect.
            self.cycle.disconnected, has_begun = True, self.cycle.response_started
            self.cycle.message_event.set()
        if not has_begun:
            request_id = new_request_id()
            client = "" if self.client is None else self.client[0]
            _access.info("refused %d id=%s client=%s: %s", error.status, request_id, client, error)
            self.transport.write(raw_answer(error, request_id, self.server_state.default_headers))
        self._close(lingers=lingers and not has_begun)

    def _close(self, *, lingers: bool) -> None:
        self._wait(Phase.CLOSING, LINGER_SECONDS)
        self._pending = b""
        if lingers and self._num_probes is None:
            self.flow.resume_reading()
            # Closing with bytes unread would reset the connection, and the client would lose the answer.
            self.transport.write_eof()
        else:
            self.transport.close()

    # Time.

    def _wait(self, phase: Phase, seconds: float) -> None:
        """Wait for the client."""
        self._phase = phase
        self._open_connections.waits(self)
        self._deadline.set(seconds)

    def _on_deadline(self) -> None:
        if self._phase is Phase.REQUEST:
            self._check_request()
        elif self._is_read():
            self._deadline.set(self._limits.stalled_seconds)
        elif self._phase is Phase.HEAD and self._head.num_bytes:
            self._refuse(TooSlow("The head of the request did not come in time."))
        elif self._phase is Phase.CLOSING:
            self.transport.abort()
        else:
            self._close(lingers=False)

    def _check_request(self) -> None:
        if self.flow.write_paused:
            if self._is_read():
                self._deadline.set(self._limits.stalled_seconds)
            else:
                self.transport.abort()
        elif self._body.is_whole:
            self._check_presence()
        elif self._body.has_progressed():
            self._body.start_clock()
            self._deadline.set(self._limits.body_seconds)
        else:
            self.cycle.is_late = True
            self.cycle.message_event.set()

    def _check_presence(self) -> None:
        """Write to a client that may have left: the second write at the latest ends such a connection."""
        if self._num_probes is None or self.cycle.response_started:
            return
        if self._can_probe:
            self.transport.write(PROBE)
            self._num_probes += 1
            # The first write only draws the reset; the next one meets it.
            self._deadline.set(PROBE_SECONDS[min(self._num_probes, 2)])
        else:
            self.transport.close()

    @property
    def _can_probe(self) -> bool:
        return self.cycle.scope["http_version"] == "1.1"

    def _is_read(self) -> bool:
        """Return True if fewer bytes wait for the client than at the last call, or the first bytes wait."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent > 0 and (before == 0 or self._unsent < before)


class _BehindChunks(Exception):
    """The parser has found a request behind a chunked body."""
