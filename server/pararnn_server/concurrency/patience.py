"""Work for a request that ends with its deadline, and when its client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from pararnn_server.errors import ClientClosed, Timeout

T = TypeVar("T")


async def in_time(request: Request, deadline: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work. Raises Timeout at the deadline, ClientClosed if the client leaves.

    deadline: on the monotonic clock. Then the work is cancelled.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(client_left(request.receive))
    try:
        remaining = max(0.0, deadline - time.monotonic())
        done, _ = await asyncio.wait((task, left), timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if left in done:
            raise ClientClosed("The client left while its request was read.")
        raise Timeout("the request took longer than its timeout")
    finally:
        task.cancel()
        left.cancel()


async def client_left(receive: Receive) -> None:
    """Wait until the client has left. Its messages until then are dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
