"""What a session store must do; every store passes the same tests."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

from pararnn_server.sessions.record import SessionRecord


class SessionStore(Protocol):
    """Records and token logs by session id. Called by one thread at a time, under the manager's lock."""

    def load(self, session_id: str) -> SessionRecord | None:
        """The last commit."""

    def commit(self, record: SessionRecord, token_ids: Sequence[int] = ()) -> None:
        """Creates or replaces the record and appends to its token log: both or neither."""

    def delete(self, session_id: str) -> None:
        """Forgets the session, its tombstone too."""

    def token_ids(self, session_id: str) -> array[int]:
        """The token log, unsigned 32-bit."""

    def count(self, owner: str | None = None) -> int:
        """Sessions of one owner, or of all."""

    def page(self, owner: str, after: str, limit: int) -> list[SessionRecord]:
        """Up to `limit` sessions with an id above `after`, by ascending id."""

    def due(self, now: float) -> list[str]:
        """Sessions whose time has passed, each reported once for every commit."""

    def expire(self, session_id: str, forget_at: float) -> None:
        """Drops the record and its log and keeps a tombstone until `forget_at`."""

    def expired_owner(self, session_id: str, now: float) -> str | None:
        """Whose the session was, while its tombstone stands."""
