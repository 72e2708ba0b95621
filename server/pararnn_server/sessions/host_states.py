"""States of sessions that wait, in host memory: every key has an equal share of it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from pararnn_core.state import StateSnapshot
from pararnn_server.access.keys import key_of


class _Held(NamedTuple):
    owner: str
    version: int
    snapshot: StateSnapshot


class HostStates:
    """Copies of states that the store has, so that each may be dropped.

    Each key has its own budget. One budget for all would show a key, by the tier of its sessions, that
    others are at work.
    bytes_per_key: of the states of one key. Its least recently used ones go first, pinned ones stay.
    on_demotion: called for each state that must go.
    """

    def __init__(self, bytes_per_key: int, on_demotion: Callable[[], None]) -> None:
        self._bytes_per_key = bytes_per_key
        self._on_demotion = on_demotion
        self._shelves: dict[str, _Shelf] = {}
        self._keys: dict[str, str] = {}
        self._owners: Counter[str] = Counter()

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """Bytes of all states that are held."""
        return sum(shelf.nbytes for shelf in self._shelves.values())

    def count(self, owner: str | None = None) -> int:
        """Sessions of one owner, or of all."""
        return len(self) if owner is None else self._owners[owner]

    def can_pin(self, owner: str, nbytes: int) -> bool:
        """Return True if one more pinned state of this size fits into the share of the owner's key."""
        shelf = self._shelves.get(key_of(owner))
        return (0 if shelf is None else shelf.pinned_bytes) + nbytes <= self._bytes_per_key

    def get(self, session_id: str, version: int) -> StateSnapshot | None:
        """Return the state at this version; an older one is dropped."""
        key = self._keys.get(session_id)
        held = None if key is None else self._shelves[key].use(session_id)
        if held is None:
            return None
        if held.version != version:
            self.drop(session_id)
            return None
        return held.snapshot

    def put(
        self, session_id: str, owner: str, version: int, snapshot: StateSnapshot, *, pinned: bool
    ) -> None:
        """Replace the state that is held of the session.

        A pinned state beyond the budget is held like any other: memory has a bound whatever was pinned before
        a restart.
        """
        self.drop(session_id)
        key = key_of(owner)
        pinned = pinned and self.can_pin(owner, snapshot.nbytes)
        shelf = self._shelves.setdefault(key, _Shelf())
        shelf.put(session_id, _Held(owner, version, snapshot), pinned)
        self._keys[session_id] = key
        self._owners[owner] += 1
        while shelf.nbytes > self._bytes_per_key and (oldest := shelf.oldest()) is not None:
            self.drop(oldest)
            self._on_demotion()

    def drop(self, session_id: str) -> None:
        """Forget the state of a session; nothing happens if there is none."""
        key = self._keys.pop(session_id, None)
        if key is None:
            return
        owner = self._shelves[key].take(session_id).owner
        if not self._shelves[key].nbytes:
            del self._shelves[key]
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]


class _Shelf:
    """The states of one key."""

    def __init__(self) -> None:
        self._free: OrderedDict[str, _Held] = OrderedDict()
        self._pinned: dict[str, _Held] = {}
        self.pinned_bytes = 0
        self.nbytes = 0

    def oldest(self) -> str | None:
        """Return the least recently used session that is not pinned."""
        return next(iter(self._free), None)

    def use(self, session_id: str) -> _Held:
        if session_id in self._pinned:
            return self._pinned[session_id]
        self._free.move_to_end(session_id)
        return self._free[session_id]

    def put(self, session_id: str, held: _Held, pinned: bool) -> None:
        self.nbytes += held.snapshot.nbytes
        if pinned:
            self._pinned[session_id] = held
            self.pinned_bytes += held.snapshot.nbytes
        else:
            self._free[session_id] = held

    def take(self, session_id: str) -> _Held:
        held = self._free.pop(session_id, None)
        if held is None:
            held = self._pinned.pop(session_id)
            self.pinned_bytes -= held.snapshot.nbytes
        self.nbytes -= held.snapshot.nbytes
        return held
