"""Calls over httpx's asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx

from pararnn_client import exchange
from pararnn_client.calls import Call
from pararnn_client.errors import PararnnError
from pararnn_client.retries import Attempts, RetryPolicy
from pararnn_client.stream import EventReader

T = TypeVar("T")


class AsyncTransport:
    """A transport that sends calls, and repeats them as the policy allows."""

    def __init__(self, http: httpx.AsyncClient, policy: RetryPolicy) -> None:
        self.http = http
        self._policy = policy

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its result."""

        async def attempt() -> T:
            return exchange.read_answer(call, await self._exchange(call, stream=False))

        return await self._with_retries(call, attempt)

    async def open(self, call: Call[Any]) -> httpx.Response:
        """Return the response after its status is checked and before its body is read."""
        # Once a stream has begun it is never repeated, because its chunks may be in use already.
        return await self._with_retries(call, lambda: self._exchange(call, stream=True))

    async def _exchange(self, call: Call[Any], *, stream: bool) -> httpx.Response:
        try:
            response = await self.http.send(exchange.build_request(self.http, call), stream=stream)
            if not response.is_success:
                # A streamed response is not read yet, but its error is in the body.
                await response.aread()
        except httpx.HTTPError as error:
            raise exchange.connection_failed(error, self.http.base_url) from error
        exchange.raise_for_status(response)
        return response

    async def _with_retries(self, call: Call[Any], attempt: Callable[[], Awaitable[T]]) -> T:
        attempts = Attempts(self._policy, repeatable=call.repeatable)
        while True:
            try:
                return await attempt()
            except PararnnError as failure:
                wait = attempts.wait_after(failure)
            await asyncio.sleep(wait)


class AsyncResource:
    """Base of a client whose methods are endpoints, all sent by one transport."""

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport


class AsyncStream(Generic[T]):
    """A reply as a stream of chunks, or the events of the monitor.

    Leaving the `async with` block ends the reply on the server.
    """

    def __init__(self, transport: AsyncTransport, call: Call[T]) -> None:
        self._transport = transport
        self._call = call
        self._response: httpx.Response | None = None

    async def __aiter__(self) -> AsyncIterator[T]:
        reader = EventReader(self._call.parse, has_end=not self._call.is_endless)
        response = await self._open()
        try:
            async for piece in response.aiter_bytes():
                for event in reader.feed(piece):
                    yield event
            # Without this check a stream that was cut would look like a short reply.
            reader.end()
        except httpx.HTTPError as error:
            raise exchange.connection_failed(error, self._transport.http.base_url) from error
        finally:
            # If the loop is left early, closing tells the server to stop generating.
            await self.aclose()

    async def __aenter__(self) -> AsyncStream[T]:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. A second call does nothing."""
        if self._response is not None:
            await self._response.aclose()

    async def _open(self) -> httpx.Response:
        if self._response is None:
            self._response = await self._transport.open(self._call)
        return self._response
