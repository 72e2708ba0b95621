"""States of prompts and replies by their exact token ids, so that what was read once is not read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pararnn_server.state_cache.prefix_tree import ID_BYTES, Node, PrefixTree

if TYPE_CHECKING:
    from pararnn_core.state import StateSnapshot


class Partition(NamedTuple):
    """Requests that share states: those of one key with one cache_salt, or without one."""

    owner: str
    salt: str | None = None


class Hit(NamedTuple):
    """The state after the first `num_tokens` ids."""

    num_tokens: int
    snapshot: StateSnapshot


class StateCache:
    """States of one model, hence of one fingerprint, in this process. One thread at a time.

    A state is kept, or promised: then its place and its bytes are taken, and it is filled in when somebody
    has computed it. Which prefixes there are, and which go first, follows from the calls of an owner alone,
    never from the time at which a promise is kept.

    Every owner has a budget of its own, from which its least recently used states go. One budget for all
    would tell a key by its misses that others are at work.
    owner_bytes: of snapshots and ids, four bytes an id. 0: nothing is kept.
    """

    def __init__(self, owner_bytes: int) -> None:
        self._owner_bytes = owner_bytes
        self._shelves: dict[str, _Shelf] = {}

    @property
    def owner_bytes(self) -> int:
        """Bytes that one owner may hold."""
        return self._owner_bytes

    @property
    def nbytes(self) -> int:
        """Snapshots and ids of all owners, without promised ones. Any thread may ask."""
        return sum(shelf.held_bytes for shelf in list(self._shelves.values()))

    def longest(self, partition: Partition, ids: bytes) -> int:
        """Return the number of `ids` that a kept or promised state covers; that state counts as used.

        ids: as `pack_ids` makes them.
        """
        shelf = self._shelves.get(partition.owner)
        return 0 if shelf is None else shelf.longest(partition.salt, ids) // ID_BYTES

    def find(self, partition: Partition, ids: bytes) -> Hit | None:
        """Return the kept state of the longest exact prefix of `ids`. It does not count as used."""
        shelf = self._shelves.get(partition.owner)
        return None if shelf is None else shelf.find(partition.salt, ids)

    def put(
        self, partition: Partition, ids: bytes, num_tokens: int, take: Callable[[], StateSnapshot | None]
    ) -> None:
        """Keep the state after the first `num_tokens` ids. `take` copies it, if it is not there yet.

        Nothing is kept for None, and of what is larger than a budget.
        """
        if 0 < num_tokens * ID_BYTES < self._owner_bytes:
            shelf = self._shelves.setdefault(partition.owner, _Shelf(self._owner_bytes))
            shelf.put(partition.salt, ids, num_tokens * ID_BYTES, take)

    def promise(self, partition: Partition, ids: bytes, num_tokens: int, state_bytes: int) -> None:
        """Take the place of the state after the first `num_tokens` ids, which `fill` brings."""
        if num_tokens * ID_BYTES + state_bytes <= self._owner_bytes:
            shelf = self._shelves.setdefault(partition.owner, _Shelf(self._owner_bytes))
            shelf.promise(partition.salt, ids, num_tokens * ID_BYTES, state_bytes)

    def owes(self, partition: Partition, ids: bytes, num_tokens: int) -> bool:
        """Return True if the state after the first `num_tokens` ids is promised and not there yet."""
        shelf = self._shelves.get(partition.owner)
        return shelf is not None and shelf.owed(partition.salt, ids, num_tokens * ID_BYTES) is not None

    def fill(
        self, partition: Partition, ids: bytes, num_tokens: int, take: Callable[[], StateSnapshot | None]
    ) -> None:
        """Bring a promised state. Nothing happens if it is there, or no longer promised."""
        shelf = self._shelves.get(partition.owner)
        if shelf is not None:
            shelf.fill(partition.salt, ids, num_tokens * ID_BYTES, take)


class _Entry:
    """A state, or the promise of one: snapshot None."""

    __slots__ = ("nbytes", "salt", "snapshot")

    def __init__(self, salt: str | None, nbytes: int, snapshot: StateSnapshot | None) -> None:
        self.salt = salt
        self.nbytes = nbytes
        self.snapshot = snapshot


class _Shelf:
    """All states of one owner, by salt. nbytes: with promised states; held_bytes: without."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._trees: dict[str | None, PrefixTree[_Entry]] = {}
        self._recent: OrderedDict[Node[_Entry], None] = OrderedDict()
        self.nbytes = 0
        self.held_bytes = 0

    def longest(self, salt: str | None, ids: bytes) -> int:
        path = self._path(salt, ids)
        if not path:
            return 0
        self._recent.move_to_end(path[-1])
        return path[-1].depth

    def find(self, salt: str | None, ids: bytes) -> Hit | None:
        hit = None
        for node in self._path(salt, ids):
            if node.value is not None and node.value.snapshot is not None:
                hit = Hit(node.depth // ID_BYTES, node.value.snapshot)
        return hit

    def put(self, salt: str | None, ids: bytes, end: int, take: Callable[[], StateSnapshot | None]) -> None:
        node = self._place(salt, ids, end)
        if node.value is not None:
            self._recent.move_to_end(node)
            self._fill(node.value, take)
            return
        snapshot = take()
        if snapshot is None or snapshot.nbytes + end > self._budget:
            self._take_out(node, salt)
            return
        self._keep(node, _Entry(salt, snapshot.nbytes, snapshot))

    def promise(self, salt: str | None, ids: bytes, end: int, state_bytes: int) -> None:
        node = self._place(salt, ids, end)
        if node.value is not None:
            self._recent.move_to_end(node)
        else:
            self._keep(node, _Entry(salt, state_bytes, None))

    def owed(self, salt: str | None, ids: bytes, end: int) -> _Entry | None:
        for node in self._path(salt, ids[:end]):
            if node.depth == end and node.value is not None and node.value.snapshot is None:
                return node.value
        return None

    def fill(self, salt: str | None, ids: bytes, end: int, take: Callable[[], StateSnapshot | None]) -> None:
        entry = self.owed(salt, ids, end)
        if entry is not None:
            self._fill(entry, take)

    def _fill(self, entry: _Entry, take: Callable[[], StateSnapshot | None]) -> None:
        if entry.snapshot is None and (snapshot := take()) is not None:
            entry.snapshot = snapshot
            self.held_bytes += entry.nbytes

    def _path(self, salt: str | None, ids: bytes) -> list[Node[_Entry]]:
        tree = self._trees.get(salt)
        return [] if tree is None else tree.prefixes(ids)

    def _place(self, salt: str | None, ids: bytes, end: int) -> Node[_Entry]:
        tree = self._trees.setdefault(salt, PrefixTree())
        before = tree.label_bytes
        node = tree.node(ids, end)
        self._count(tree.label_bytes - before, tree.label_bytes - before)
        return node

    def _keep(self, node: Node[_Entry], entry: _Entry) -> None:
        node.value = entry
        self._recent[node] = None
        self._count(entry.nbytes, 0 if entry.snapshot is None else entry.nbytes)
        while self.nbytes > self._budget:
            oldest, _ = self._recent.popitem(last=False)
            assert oldest.value is not None
            self._take_out(oldest, oldest.value.salt)

    def _take_out(self, node: Node[_Entry], salt: str | None) -> None:
        tree, entry = self._trees[salt], node.value
        before = tree.label_bytes
        tree.remove(node)
        freed = before - tree.label_bytes
        self._count(-freed, -freed)
        if entry is not None:
            self._count(-entry.nbytes, 0 if entry.snapshot is None else -entry.nbytes)
        if not tree:
            del self._trees[salt]

    def _count(self, nbytes: int, held_bytes: int) -> None:
        self.nbytes += nbytes
        self.held_bytes += held_bytes
