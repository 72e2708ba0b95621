"""Events of one view, encoded once for all who watch it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from pararnn_server.monitor.session_table import Json, Row, SessionTable, encoded

KEPT_EVENTS = 64
KEPT_BYTES = 1 << 20
ROWS_AT_ONCE = 128


class Feed:
    """The last events of a view, by number. For the event loop only.

    A watcher has a position here and no queue of its own. One whose next event is gone, since it reads too
    slowly, gets a new snapshot: what a watcher costs has a bound.
    key: whose sessions are shown; None: those of all keys. life: part of the ids of its events,
        which so name no event of another process.
    figures: the members of the last event, complete, beside the sessions. used_at: when a watcher left it.
    """

    def __init__(self, key: str | None, table: SessionTable, life: str) -> None:
        self.key = key
        self.figures: Json = {}
        self.number = 0
        self.num_watchers = 0
        self.used_at = time.monotonic()
        self.is_closed = False
        self._table = table
        self._life = life
        self._events: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._news = asyncio.Event()

    def publish(self, change: Json, rows: list[Row]) -> None:
        """Add an event. change: all of its members but the sessions."""
        self.number += 1
        head = self._head("change", self.number, change)
        data = b"".join([*head, b",".join(row.data for row in rows), b"]}\n\n"])
        self._events.append((self.number, data))
        self._kept_bytes += len(data)
        while len(self._events) > KEPT_EVENTS or (self._kept_bytes > KEPT_BYTES and len(self._events) > 1):
            self._kept_bytes -= len(self._events.popleft()[1])
        self._wake()

    def close(self) -> None:
        """End the streams of all watchers."""
        self.is_closed = True
        self._wake()

    def snapshot(self) -> Iterator[bytes]:
        """Return the event with everything, in parts. It is of this moment, whenever its parts are taken."""
        rows = self._table.rows_of(self.key)
        head = self._head("snapshot", self.number, self.figures)
        return _parts(b"".join(head), rows)

    def after(self, number: int) -> list[tuple[int, bytes]] | None:
        """Return the events after this one; None if some of them are not kept."""
        if number > self.number or (number < self.number and self._events[0][0] > number + 1):
            return None
        return [event for event in self._events if event[0] > number]

    def number_of(self, event_id: str) -> int | None:
        """Return the number of an event that this feed sent; None for another id."""
        _, _, number = event_id.partition("-")
        is_number = number.isascii() and number.isdecimal() and len(number) < 16
        return int(number) if is_number and event_id == self._id(int(number)) else None

    async def news(self, number: int, seconds: float) -> bool:
        """Wait until there is an event after this one, or the feed is closed. Return False if time is up."""
        if self.number > number or self.is_closed:
            return True
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        # Before Python 3.11 asyncio's is a class of its own.
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True

    def _id(self, number: int) -> str:
        return f"{self._life}-{number}"

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _head(self, kind: str, number: int, members: Json) -> tuple[bytes, ...]:
        first = encoded({"type": kind, **members})[:-1]
        return (f"id: {self._id(number)}\nevent: {kind}\ndata: ".encode(), first, b',"sessions":[')


def _parts(head: bytes, rows: list[Row]) -> Iterator[bytes]:
    yield head
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = b",".join(row.data for row in rows[start : start + ROWS_AT_ONCE])
        yield b"," + part if start else part
    yield b"]}\n\n"
