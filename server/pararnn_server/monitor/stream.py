"""A feed as a stream of events."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pararnn_server.concurrency.patience import client_left
from pararnn_server.http.formats import sse
from pararnn_server.http.request_state import request_state
from pararnn_server.monitor.feed import Feed
from pararnn_server.monitor.monitor import Monitor


class MonitorStream(Response):
    """A snapshot, then changes, until the client leaves.

    key: whose sessions are shown; None: all. event_id: the last event that the client has; "": it has none.
    """

    def __init__(self, monitor: Monitor, key: str | None, event_id: str, ping_seconds: float) -> None:
        super().__init__()
        self._monitor = monitor
        self._key = key
        self._event_id = event_id
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises ServerError while no header has left."""
        if request_state(scope).is_head:
            async with self._monitor.watching(self._key):
                pass
            # The place is free before the answer leaves: then the client may send its next request.
            await send(_start())
            return await _send(send, b"", last=True)
        async with self._monitor.watching(self._key) as feed:
            await send(_start())
            work = asyncio.ensure_future(self._write(feed, send))
            left = asyncio.ensure_future(client_left(receive))
            try:
                await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                work.cancel()
                left.cancel()

    async def _write(self, feed: Feed, send: Send) -> None:
        known = feed.number_of(self._event_id)
        position, events = (0, None) if known is None else (known, feed.after(known))
        while True:
            if events is None:
                # Together, with no wait between: the changes after this number are those after the snapshot.
                position, parts = feed.number, feed.snapshot()
                for part in parts:
                    await _send(send, part)
            else:
                for number, data in events:
                    await _send(send, data)
                    position = number
            if feed.is_closed:
                await _send(send, b"", last=True)
                return
            while not await feed.news(position, self._ping_seconds):
                await _send(send, sse.PING)
            events = feed.after(position)


def _start() -> Message:
    return {"type": "http.response.start", "status": 200, "headers": list(sse.HEADERS)}


async def _send(send: Send, data: bytes, *, last: bool = False) -> None:
    """Wait until the reader has room."""
    await send({"type": "http.response.body", "body": data, "more_body": not last})
    # A reader that keeps up never makes `send` wait: others run here.
    await asyncio.sleep(0)
