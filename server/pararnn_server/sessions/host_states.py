"""States of waiting sessions in host memory, of which every key has an equal share."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from pararnn_core.state import StateSnapshot
from pararnn_server.access.owner import Owner


class _HostState(NamedTuple):
    owner: Owner
    version: int
    snapshot: StateSnapshot
    on_demotion: Callable[[], None]


class HostStates:
    """Copies of states that the store has, so that each may be dropped.

    Each key has its own budget. One budget for all would show a key, by the tier of its sessions, that
    others are at work.
    bytes_per_key: of the states of one key. Its least recently used ones go first, pinned ones stay.
    on_change: called with each session whose state comes or goes.
    """

    def __init__(self, bytes_per_key: int, on_change: Callable[[str], None] | None = None) -> None:
        self._bytes_per_key = bytes_per_key
        self._on_change = on_change or _nothing
        self._by_key: dict[str, _KeyStates] = {}
        self._keys: dict[str, str] = {}
        self._owners: Counter[Owner] = Counter()
        self._owned_bytes: Counter[Owner] = Counter()

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """Bytes of all states that are held."""
        return sum(states.nbytes for states in self._by_key.values())

    def count(self, owner: Owner | None = None) -> int:
        """Sessions of one owner, or of all."""
        return len(self) if owner is None else self._owners[owner]

    def owned_bytes(self, owner: Owner | None = None) -> int:
        """Bytes of the states of one owner, or of all."""
        return self.nbytes if owner is None else self._owned_bytes[owner]

    def can_pin(self, owner: Owner, nbytes: int) -> bool:
        """Return True if one more pinned state of this size fits into the share of the owner's key."""
        states = self._by_key.get(owner.key)
        return (0 if states is None else states.pinned_bytes) + nbytes <= self._bytes_per_key

    def get(self, session_id: str, version: int) -> StateSnapshot | None:
        """Return the state at this version; an older one is dropped."""
        key = self._keys.get(session_id)
        state = None if key is None else self._by_key[key].use(session_id)
        if state is None:
            return None
        # Another server may have written the session since.
        if state.version != version:
            self.drop(session_id)
            return None
        return state.snapshot

    def put(
        self,
        session_id: str,
        owner: Owner,
        version: int,
        snapshot: StateSnapshot,
        *,
        pinned: bool,
        on_demotion: Callable[[], None],
    ) -> None:
        """Replace the state that is held of the session. on_demotion: called if it must make room.

        A pinned state beyond the budget is held like any other: memory has a bound whatever was pinned before
        a restart.
        """
        self.drop(session_id)
        key = owner.key
        pinned = pinned and self.can_pin(owner, snapshot.nbytes)
        states = self._by_key.setdefault(key, _KeyStates())
        states.put(session_id, _HostState(owner, version, snapshot, on_demotion), pinned)
        self._keys[session_id] = key
        self._owners[owner] += 1
        self._owned_bytes[owner] += snapshot.nbytes
        self._on_change(session_id)
        while states.nbytes > self._bytes_per_key and (oldest := states.oldest()) is not None:
            demoted = states.use(oldest)
            self.drop(oldest)
            demoted.on_demotion()

    def drop(self, session_id: str) -> None:
        """Forget the state of a session; nothing happens if there is none."""
        key = self._keys.pop(session_id, None)
        if key is None:
            return
        state = self._by_key[key].take(session_id)
        owner = state.owner
        if not self._by_key[key].nbytes:
            del self._by_key[key]
        self._owners[owner] -= 1
        self._owned_bytes[owner] -= state.snapshot.nbytes
        if not self._owners[owner]:
            del self._owners[owner], self._owned_bytes[owner]
        self._on_change(session_id)


def _nothing(_: str) -> None:
    """Ignore a session: nobody watches."""


class _KeyStates:
    """The states of one key."""

    def __init__(self) -> None:
        self._free: OrderedDict[str, _HostState] = OrderedDict()
        self._pinned: dict[str, _HostState] = {}
        self.pinned_bytes = 0
        self.nbytes = 0

    def oldest(self) -> str | None:
        """Return the least recently used session that is not pinned."""
        return next(iter(self._free), None)

    def use(self, session_id: str) -> _HostState:
        if session_id in self._pinned:
            return self._pinned[session_id]
        self._free.move_to_end(session_id)
        return self._free[session_id]

    def put(self, session_id: str, state: _HostState, pinned: bool) -> None:
        self.nbytes += state.snapshot.nbytes
        if pinned:
            self._pinned[session_id] = state
            self.pinned_bytes += state.snapshot.nbytes
        else:
            self._free[session_id] = state

    def take(self, session_id: str) -> _HostState:
        state = self._free.pop(session_id, None)
        if state is None:
            state = self._pinned.pop(session_id)
            self.pinned_bytes -= state.snapshot.nbytes
        self.nbytes -= state.snapshot.nbytes
        return state
