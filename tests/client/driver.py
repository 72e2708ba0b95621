"""One way to drive both clients, so that each test of behaviour runs against each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
from pararnn_client import AsyncPararnnClient, Chunk, PararnnClient, RetryPolicy

Handler = Callable[[httpx.Request], httpx.Response]
KINDS = ("blocking", "asyncio")


class Driver:
    """A client of one kind over a handler in place of the network."""

    def __init__(self, kind: str, handler: Handler, *, api_key: str | None = None, retries: int = 2) -> None:
        self._loop = asyncio.new_event_loop()
        options: Any = {
            "api_key": api_key,
            "retries": RetryPolicy(max_retries=retries, first_wait=0.0),
            "transport": httpx.MockTransport(handler),
        }
        self.client: Any = PararnnClient(**options) if kind == "blocking" else AsyncPararnnClient(**options)

    def do(self, use: Callable[[Any], Any]) -> Any:
        """The result of use(client), awaited where it is to be awaited."""
        result = use(self.client)
        return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def chunks(self, use: Callable[[Any], Any]) -> list[Chunk]:
        """All chunks of the stream use(client)."""
        stream = use(self.client)
        if hasattr(stream, "__iter__"):
            return list(stream)

        async def collect() -> list[Chunk]:
            return [chunk async for chunk in stream]

        return self._loop.run_until_complete(collect())

    def close(self) -> None:
        """Close the client and its loop."""
        self.do(lambda client: client.close() if hasattr(client, "close") else client.aclose())
        self._loop.close()
