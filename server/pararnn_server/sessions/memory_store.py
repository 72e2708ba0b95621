"""Sessions in this process's memory: gone with it."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

from pararnn_server.sessions.record import SessionRecord

MAX_TOMBSTONES = 100_000
STALE_WATCHES = 64


class MemoryStore:
    """A SessionStore."""

    def __init__(self) -> None:
        self._records: dict[str, SessionRecord] = {}
        self._logs: dict[str, array[int]] = {}
        self._ids: dict[str, list[str]] = {}
        self._watches: list[tuple[float, str]] = []
        self._watched: dict[str, float] = {}
        self._tombstones: dict[str, tuple[str, float]] = {}

    def load(self, session_id: str) -> SessionRecord | None:
        """The last commit."""
        return self._records.get(session_id)

    def commit(self, record: SessionRecord, token_ids: Sequence[int] = ()) -> None:
        """Creates or replaces the record and appends to its token log."""
        if record.session_id not in self._records:
            insort(self._ids.setdefault(record.owner, []), record.session_id)
            self._logs[record.session_id] = array("I")
        self._logs[record.session_id].extend(token_ids)
        self._records[record.session_id] = record
        self._watch(record)

    def delete(self, session_id: str) -> None:
        """Forgets the session, its tombstone too."""
        self._tombstones.pop(session_id, None)
        record = self._records.pop(session_id, None)
        if record is None:
            return
        del self._logs[session_id]
        self._watched.pop(session_id, None)
        self._drop_stale_watches()
        ids = self._ids[record.owner]
        del ids[bisect_left(ids, session_id)]
        if not ids:
            del self._ids[record.owner]

    def token_ids(self, session_id: str) -> array[int]:
        """A copy of the token log."""
        return self._logs[session_id][:]

    def count(self, owner: str | None = None) -> int:
        """Sessions of one owner, or of all."""
        return len(self._records) if owner is None else len(self._ids.get(owner, ()))

    def page(self, owner: str, after: str, limit: int) -> list[SessionRecord]:
        """Up to `limit` sessions with an id above `after`, by ascending id."""
        ids = self._ids.get(owner, [])
        start = bisect_right(ids, after)
        return [self._records[session_id] for session_id in ids[start : start + limit]]

    def due(self, now: float) -> list[str]:
        """Sessions whose time has passed, each reported once for every commit."""
        due = []
        while self._watches and self._watches[0][0] <= now:
            watched, session_id = heapq.heappop(self._watches)
            if self._watched.get(session_id) != watched:
                continue
            del self._watched[session_id]
            record = self._records[session_id]
            if record.expires_at is not None and record.expires_at <= now:
                due.append(session_id)
            else:
                self._watch(record)
        return due

    def expire(self, session_id: str, forget_at: float) -> None:
        """Drops the record and its log and keeps a tombstone, the oldest of which make room."""
        owner = self._records[session_id].owner
        self.delete(session_id)
        self._tombstones[session_id] = (owner, forget_at)
        if len(self._tombstones) > MAX_TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]

    def expired_owner(self, session_id: str, now: float) -> str | None:
        """Whose the session was, while its tombstone stands."""
        owner, forget_at = self._tombstones.get(session_id, (None, now))
        if owner is not None and forget_at <= now:
            del self._tombstones[session_id]
            return None
        return owner

    def _watch(self, record: SessionRecord) -> None:
        """Every use moves the expiry; the heap learns of a later one only when the earlier comes up."""
        watched = self._watched.get(record.session_id)
        if record.expires_at is not None and (watched is None or record.expires_at < watched):
            self._watched[record.session_id] = record.expires_at
            heapq.heappush(self._watches, (record.expires_at, record.session_id))

    def _drop_stale_watches(self) -> None:
        """Deleted sessions leave theirs in the heap, where a long time to live would keep them."""
        if len(self._watches) > 2 * len(self._watched) + STALE_WATCHES:
            self._watches = [(watched, session_id) for session_id, watched in self._watched.items()]
            heapq.heapify(self._watches)
