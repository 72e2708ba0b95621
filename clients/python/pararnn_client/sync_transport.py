"""Calls over a blocking httpx client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx

from pararnn_client import exchange
from pararnn_client.calls import Call
from pararnn_client.errors import PararnnError
from pararnn_client.retries import Attempts, RetryPolicy
from pararnn_client.stream import EventReader

T = TypeVar("T")


class SyncTransport:
    """A transport that sends calls, and repeats them as the policy allows."""

    def __init__(self, http: httpx.Client, policy: RetryPolicy) -> None:
        self.http = http
        self._policy = policy

    def send(self, call: Call[T]) -> T:
        """Send a call and return its result."""
        return self._with_retries(
            call, lambda: exchange.read_answer(call, self._exchange(call, stream=False))
        )

    def open(self, call: Call[Any]) -> httpx.Response:
        """Return the response after its status is checked and before its body is read."""
        # Once a stream has begun it is never repeated, because its chunks may be in use already.
        return self._with_retries(call, lambda: self._exchange(call, stream=True))

    def _exchange(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        try:
            response = self.http.send(exchange.build_request(self.http, call), stream=stream)
            if not response.is_success:
                # A streamed response is not read yet, but its error is in the body.
                response.read()
        except httpx.HTTPError as error:
            raise exchange.connection_failed(error, self.http.base_url) from error
        exchange.raise_for_status(response)
        return response

    def _with_retries(self, call: Call[Any], attempt: Callable[[], T]) -> T:
        attempts = Attempts(self._policy, repeatable=call.repeatable)
        while True:
            try:
                return attempt()
            except PararnnError as failure:
                wait = attempts.wait_after(failure)
            time.sleep(wait)


class SyncResource:
    """Base of a client whose methods are endpoints, all sent by one transport."""

    def __init__(self, transport: SyncTransport) -> None:
        self.transport = transport


class Stream(Generic[T]):
    """A reply as a stream of chunks, or the events of the monitor.

    Leaving the `with` block ends the reply on the server.
    """

    def __init__(self, transport: SyncTransport, call: Call[T]) -> None:
        self._transport = transport
        self._call = call
        self._response: httpx.Response | None = None

    def __iter__(self) -> Iterator[T]:
        reader = EventReader(self._call.parse, has_end=not self._call.is_endless)
        response = self._open()
        try:
            for piece in response.iter_bytes():
                yield from reader.feed(piece)
            # Without this check a stream that was cut would look like a short reply.
            reader.end()
        except httpx.HTTPError as error:
            raise exchange.connection_failed(error, self._transport.http.base_url) from error
        finally:
            # If the loop is left early, closing tells the server to stop generating.
            self.close()

    def __enter__(self) -> Stream[T]:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        if self._response is not None:
            self._response.close()

    def _open(self) -> httpx.Response:
        if self._response is None:
            self._response = self._transport.open(self._call)
        return self._response
