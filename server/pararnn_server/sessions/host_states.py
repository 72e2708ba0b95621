"""States of sessions that wait, in host memory, under a budget of bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from pararnn_core.state import StateSnapshot


class _Held(NamedTuple):
    owner: str
    version: int
    snapshot: StateSnapshot
    pinned: bool


class HostStates:
    """Copies of what the store has: any may go. The least recently used do when max_bytes are passed.

    Pinned ones stay, whatever the budget; how many there may be is for who pins them to limit.
    on_demotion: called for each that has to go.
    """

    def __init__(self, max_bytes: int, on_demotion: Callable[[], None]) -> None:
        self._max_bytes = max_bytes
        self._on_demotion = on_demotion
        self._free: OrderedDict[str, _Held] = OrderedDict()
        self._pinned: dict[str, _Held] = {}
        self._owners: Counter[str] = Counter()
        self.nbytes = 0

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._free or session_id in self._pinned

    def __len__(self) -> int:
        return len(self._free) + len(self._pinned)

    @property
    def pinned_bytes(self) -> int:
        """Of those that stay."""
        return sum(held.snapshot.nbytes for held in self._pinned.values())

    def count(self, owner: str | None = None) -> int:
        """Sessions of one owner, or of all."""
        return len(self) if owner is None else self._owners[owner]

    def get(self, session_id: str, version: int) -> StateSnapshot | None:
        """The state at this version; an older one is dropped."""
        held = self._pinned.get(session_id) or self._free.get(session_id)
        if held is None:
            return None
        if held.version != version:
            self.drop(session_id)
            return None
        if not held.pinned:
            self._free.move_to_end(session_id)
        return held.snapshot

    def put(
        self, session_id: str, owner: str, version: int, snapshot: StateSnapshot, *, pinned: bool
    ) -> None:
        """Takes the place of what was held of the session."""
        self.drop(session_id)
        place = self._pinned if pinned else self._free
        place[session_id] = _Held(owner, version, snapshot, pinned)
        self._owners[owner] += 1
        self.nbytes += snapshot.nbytes
        while self.nbytes > self._max_bytes and self._free:
            self.drop(next(iter(self._free)))
            self._on_demotion()

    def drop(self, session_id: str) -> None:
        """Harmless if it is not held."""
        held = self._pinned.pop(session_id, None) or self._free.pop(session_id, None)
        if held is None:
            return
        self.nbytes -= held.snapshot.nbytes
        self._owners[held.owner] -= 1
        if not self._owners[held.owner]:
            del self._owners[held.owner]
