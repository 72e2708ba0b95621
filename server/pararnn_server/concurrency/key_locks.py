"""Work that one key may do once at a time."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class KeyLocks:
    """A lock for each key, for the event loop only. It exists while a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: str) -> asyncio.Lock:
        """Return the lock of the key."""
        lock = self._locks.get(key)
        if lock is None:
            # The name holds the lock, which the weak dictionary does not.
            lock = self._locks[key] = asyncio.Lock()
        return lock
