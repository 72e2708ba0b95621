"""The bound on open connections, and the choice of the one to close when there are too many."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Protocol

# For the store, checkpoints, the event loop and what libraries open.
RESERVED_DESCRIPTORS = 128


class Evictable(Protocol):
    """A connection that can be ended while it waits for its client."""

    def evict(self) -> None:
        """End it."""


class OpenConnections:
    """most: at once. One more ends the connection that waits for its client the longest.

    A connection waits while its client owes it a request, the end of a request's head, or the end of a body
    that nobody reads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Evictable] = set()
        # A dict keeps the order of insertion: its first entry has waited the longest.
        self._waiting: dict[Evictable, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Evictable) -> bool:
        """Count it as waiting. False: all others are answering requests, so that this one must go."""
        self._open.add(connection)
        if len(self._open) > self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.lost(oldest)
            oldest.evict()
        self._waiting[connection] = None
        return True

    def waits(self, connection: Evictable) -> None:
        """It waits for its client from now on."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: Evictable) -> None:
        """It has a request to answer."""
        self._waiting.pop(connection, None)

    def lost(self, connection: Evictable) -> None:
        """It is closed, or about to be."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


def usable_connections(wanted: int) -> int:
    """Return the number of connections that have descriptors; raise the limit of this process first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        more = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        # Some systems have a limit below the hard one that they do not tell.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVED_DESCRIPTORS))
