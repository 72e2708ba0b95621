"""Sessions that have changed since a watcher last read them, by id."""

from __future__ import annotations

from itertools import islice


class SessionChanges:
    """Notes for one watcher of all sessions. For the store's thread only.

    Each id is noted once, however often it changes: what waits is bounded by the number of sessions.
    """

    def __init__(self) -> None:
        self._ids: dict[str, None] | None = None

    def begin(self) -> None:
        """Note changes from now on."""
        self._ids = {}

    def end(self) -> None:
        """Note nothing more, and forget what was noted."""
        self._ids = None

    def note(self, session_id: str) -> None:
        """Note a change. Nothing happens while nobody watches."""
        if self._ids is not None:
            self._ids[session_id] = None

    def take(self, limit: int) -> list[str]:
        """Return up to so many ids, the oldest first, and forget them."""
        taken = list(islice(self._ids or (), limit))
        for session_id in taken:
            self.forget(session_id)
        return taken

    def forget(self, session_id: str) -> None:
        """Forget one id; harmless if it was not noted."""
        if self._ids is not None:
            self._ids.pop(session_id, None)
