"""Work that one key may do once at a time."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from pararnn_server.access.keys import key_of


class KeyLocks:
    """A lock for each key, which lasts while somebody holds it or waits for it. For the event loop only."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, owner: str) -> asyncio.Lock:
        """Return the lock of the owner's key."""
        key = key_of(owner)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock
