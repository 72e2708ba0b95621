"""One request on a connection, and its answer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pararnn_server.errors import TooSlow


class Wire(Protocol):
    """The calls that an exchange makes on its connection."""

    def awaits_body(self) -> None:
        """The application waits for more of the body."""

    def can_drain(self) -> bool:
        """Return True if the rest of a body that nobody wants is small enough to be read."""

    def application_ended(self) -> None:
        """The application has returned, whether or not its answer is complete."""


class Exchange(RequestResponseCycle):
    """Uvicorn's exchange, but late bodies are cut, HTTP/1.0 gets no chunks, and the connection closes itself.

    is_late: the body did not come in time. closes: the connection ends with this answer.
    """

    def __init__(self, wire: Wire, **base: Any) -> None:
        super().__init__(**base)
        self._wire = wire
        self._ends_at_close = False
        self.is_late = False
        self.closes = False

    def end_connection(self) -> None:
        """The connection ends with this answer."""
        if self.response_started:
            self.closes = True
        else:
            self.keep_alive = False

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application."""
        await super().run_asgi(app)
        self._wire.application_ended()

    async def receive(self) -> ASGIReceiveEvent:
        """A piece of the body, or the end of the exchange. Raises TooSlow."""
        # The client sends its body only after this line.
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            # Bytes behind the body are further requests: they stay in the kernel until this one is answered.
            if self.more_body:
                self.flow.resume_reading()
                # The clock starts when the application waits: delays before that are not the client's.
                self._wire.awaits_body()
            await self.message_event.wait()
            self.message_event.clear()
        if self.is_late:
            raise TooSlow("The body of the request stopped arriving and was cut off; send it again.")
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        """Write a part of the answer; without a coroutine of its own, because every token comes this way."""
        if not self.response_started:
            return self._start(message)
        if self._ends_at_close and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        return super().send(message)

    async def _start(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = self._framed(list(message.get("headers", ())))
        await super().send(message)
        # Uvicorn would close at once at the end of the answer; bytes still unread would then reset it.
        self.closes, self.keep_alive = self.closes or not self.keep_alive, True

    def _framed(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the message with the header that says where the connection ends."""
        # The rest would have to be read before the next request could be found.
        if self.more_body and not self._wire.can_drain():
            self.keep_alive = False
        if self.scope["http_version"] == "1.0" and b"content-length" not in dict(headers):
            # HTTP/1.0 knows no chunks: the body ends where the connection does.
            self._ends_at_close = True
            self.chunked_encoding = False
        return headers if self.keep_alive else [*headers, (b"connection", b"close")]
