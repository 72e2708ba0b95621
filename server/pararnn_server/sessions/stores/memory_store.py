"""A store in the memory of this process."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from typing_extensions import override

from pararnn_server.metrics.tiers import Tier
from pararnn_server.sessions.stores.single_server import SingleServerStore
from pararnn_server.sessions.stores.store import (
    MAX_TOMBSTONES,
    SESSION_BYTES,
    Change,
    Commit,
    StaleWrite,
    StoredHead,
    StoreUsage,
    items_bytes,
    named_in,
)


@dataclass(slots=True)
class _Entry:
    head: StoredHead
    nbytes: int
    items: dict[str, bytes]
    alias: str | None = None


class MemoryStore(SingleServerStore):
    """A store whose sessions end with the process."""

    tier: Tier = "host"

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._ids: dict[str, list[str]] = {}
        self._usage: dict[str, StoreUsage] = {}
        self._tombstones: dict[str, dict[str, float]] = {}
        self._tombstone_owners: dict[str, str] = {}
        self._aliases: dict[str, str] = {}

    @override
    def load(self, session_id: str) -> StoredHead | None:
        entry = self._entries.get(session_id)
        return None if entry is None else entry.head

    @override
    def read(self, session_id: str, name: str) -> bytes | None:
        entry = self._entries.get(session_id)
        return None if entry is None else entry.items.get(name)

    @override
    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        entry = self._entries.get(session_id)
        items = {} if entry is None else entry.items
        return {name: items[name] for name in sorted(items) if name.startswith(prefix)}

    @override
    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        return {name: len(data) for name, data in self.scan(session_id, prefix).items()}

    @override
    def find_alias(self, alias: str) -> str | None:
        return self._aliases.get(alias)

    @override
    def share(self, session_id: str, prefix: str) -> bool:
        # Bytes in memory are shared as they are.
        return False

    @override
    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        return [self._commit(commit) for commit in commits]

    def _commit(self, commit: Commit) -> StaleWrite | None:
        for change in commit:
            entry = self._entries.get(change.session_id)
            if (0 if entry is None else entry.head.version) != change.base_version:
                return StaleWrite(change.session_id)
            if self._aliases.get(change.alias or "", change.session_id) != change.session_id:
                return StaleWrite(change.session_id)
        # All is checked and read before anything changes: a commit is made wholly or not at all.
        linked = [self._linked(change) for change in commit]
        for change, links in zip(commit, linked, strict=True):
            if len(links) != len(change.links):
                return StaleWrite(change.session_id)
        for change, links in zip(commit, linked, strict=True):
            self._apply(change, links)
        return None

    def _linked(self, change: Change) -> dict[str, bytes]:
        found = {name: self.read(*source) for name, source in change.links.items()}
        return {name: data for name, data in found.items() if data is not None}

    def _apply(self, change: Change, links: Mapping[str, bytes]) -> None:
        session_id, owner = change.session_id, change.owner
        entry = self._entries.get(session_id)
        head = StoredHead(session_id, owner, change.base_version + 1, change.head, change.expires_at)
        growth = self._growth(change, links)
        if entry is None:
            entry = self._entries[session_id] = _Entry(head, 0, {})
            # Sorted ids make a page a search, not a walk over all sessions.
            insort(self._ids.setdefault(owner, []), session_id)
            self._count(owner, 1, 0)
        self._count(owner, 0, growth)
        entry.head, entry.nbytes = head, entry.nbytes + growth
        if change.alias is not None:
            self._aliases.pop(entry.alias or "", None)
            entry.alias = change.alias
            self._aliases[change.alias] = session_id
        for name in change.removes:
            entry.items.pop(name, None)
        entry.items |= {**links, **change.puts, **change.shares}

    @override
    def delete(self, session_id: str) -> None:
        self._drop_tombstone(session_id)
        entry = self._entries.pop(session_id, None)
        if entry is None:
            return
        self._aliases.pop(entry.alias or "", None)
        owner = entry.head.owner
        self._count(owner, -1, -entry.nbytes)
        ids = self._ids[owner]
        del ids[bisect_left(ids, session_id)]
        if not ids:
            del self._ids[owner]

    @override
    def usage(self, owner: str | None = None) -> StoreUsage:
        if owner is not None:
            return self._usage.get(owner, StoreUsage(0, 0))
        return sum(self._usage.values(), StoreUsage(0, 0))

    @override
    def growth(self, change: Change) -> int:
        return self._growth(change, self._linked(change))

    @override
    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        ids = self._ids.get(owner, [])
        start = bisect_right(ids, after)
        return [self._entries[session_id].head for session_id in ids[start : start + limit]]

    @override
    def due(self, now: float, skip: int = 0) -> list[str]:
        ends = ((session_id, entry.head.expires_at) for session_id, entry in self._entries.items())
        return [session_id for session_id, end in ends if end is not None and end <= now][skip:]

    @override
    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        # The oldest tombstones make room for new ones.
        return [session_id for session_id in session_ids if self._expire(session_id, now, forget_at)]

    def _expire(self, session_id: str, now: float, forget_at: float) -> bool:
        ends = self._expires_at(session_id)
        if ends is None or ends > now:
            return False
        owner = self._entries[session_id].head.owner
        self.delete(session_id)
        self._tombstones.setdefault(owner, {})[session_id] = forget_at
        self._tombstone_owners[session_id] = owner
        self._count(owner, 0, 0, 1)
        if len(self._tombstones[owner]) > MAX_TOMBSTONES:
            self.forget_tombstones(owner, 1)
        return True

    @override
    def expired_owner(self, session_id: str, now: float) -> str | None:
        owner = self._tombstone_owners.get(session_id)
        if owner is not None and self._tombstones[owner][session_id] <= now:
            self._drop_tombstone(session_id)
            return None
        return owner

    @override
    def forget_tombstones(self, owner: str, count: int) -> None:
        for session_id in list(islice(self._tombstones.get(owner, ()), count)):
            self._drop_tombstone(session_id)

    @override
    def purge(self) -> bool:
        return False

    @override
    def idle(self) -> bool:
        return False

    @override
    def close(self) -> None:
        pass

    def _expires_at(self, session_id: str) -> float | None:
        entry = self._entries.get(session_id)
        return None if entry is None else entry.head.expires_at

    def _growth(self, change: Change, links: Mapping[str, bytes]) -> int:
        entry = self._entries.get(change.session_id)
        items = {name: len(data) for name, data in {**links, **change.puts, **change.shares}.items()}
        after = items_bytes(items) + len(change.head)
        if entry is None:
            return SESSION_BYTES + after
        gone = {name: len(entry.items[name]) for name in named_in(change) if name in entry.items}
        return after - items_bytes(gone) - len(entry.head.head)

    def _drop_tombstone(self, session_id: str) -> None:
        owner = self._tombstone_owners.pop(session_id, None)
        if owner is not None:
            del self._tombstones[owner][session_id]
            self._count(owner, 0, 0, -1)
            if not self._tombstones[owner]:
                del self._tombstones[owner]

    def _count(self, owner: str, sessions: int, nbytes: int, tombstones: int = 0) -> None:
        self._usage[owner] = self.usage(owner) + StoreUsage(sessions, nbytes, tombstones)
        # Owners come and go: an empty entry for each would stay for ever.
        if self._usage[owner] == StoreUsage(0, 0):
            del self._usage[owner]
