"""States of prompts and replies by their exact token ids, so that what was read once is not read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pararnn_server.prefix_tree import ID_BYTES, Node, PrefixTree

if TYPE_CHECKING:
    from pararnn_core.state import StateSnapshot


class Partition(NamedTuple):
    """Who shares states: requests of one key with one cache_salt, or none."""

    owner: str
    salt: str | None = None


class Hit(NamedTuple):
    """The state after the first `num_tokens` ids."""

    num_tokens: int
    snapshot: StateSnapshot


class StateCache:
    """States of one model, hence of one fingerprint, in this process. One thread at a time.

    Every owner has a budget of its own, from which its least recently used states go. One budget for all
    would tell a key by its misses that others are at work.
    owner_bytes: of snapshots and ids, four bytes an id. 0: nothing is kept.
    """

    def __init__(self, owner_bytes: int) -> None:
        self._owner_bytes = owner_bytes
        self._shelves: dict[str, _Shelf] = {}

    @property
    def owner_bytes(self) -> int:
        """What one owner may hold."""
        return self._owner_bytes

    @property
    def nbytes(self) -> int:
        """Snapshots and ids of all owners. Any thread may ask."""
        return sum(shelf.nbytes for shelf in list(self._shelves.values()))

    def find(self, partition: Partition, ids: bytes) -> Hit | None:
        """The state of the longest exact prefix of `ids`, which `pack_ids` made."""
        shelf = self._shelves.get(partition.owner)
        return None if shelf is None else shelf.find(partition.salt, ids)

    def put(
        self, partition: Partition, ids: bytes, num_tokens: int, take: Callable[[], StateSnapshot | None]
    ) -> None:
        """Keeps the state after the first `num_tokens` ids. `take` copies it, if it is not there yet.

        Nothing is kept for None, and of what is larger than a budget.
        """
        if 0 < num_tokens * ID_BYTES < self._owner_bytes:
            shelf = self._shelves.setdefault(partition.owner, _Shelf(self._owner_bytes))
            shelf.put(partition.salt, ids, num_tokens * ID_BYTES, take)


class _Shelf:
    """All states of one owner, by salt."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._trees: dict[str | None, PrefixTree[StateSnapshot]] = {}
        self._recent: OrderedDict[Node[StateSnapshot], str | None] = OrderedDict()
        self.nbytes = 0

    def find(self, salt: str | None, ids: bytes) -> Hit | None:
        tree = self._trees.get(salt)
        node = None if tree is None else tree.longest(ids)
        if node is None or node.value is None:
            return None
        self._recent.move_to_end(node)
        return Hit(node.depth // ID_BYTES, node.value)

    def put(self, salt: str | None, ids: bytes, end: int, take: Callable[[], StateSnapshot | None]) -> None:
        tree = self._trees.setdefault(salt, PrefixTree())
        before = tree.label_bytes
        node = tree.node(ids, end)
        self.nbytes += tree.label_bytes - before
        if node.value is not None:
            self._recent.move_to_end(node)
            return
        snapshot = take()
        if snapshot is None or snapshot.nbytes + end > self._budget:
            self._take_out(node, salt)
            return
        node.value = snapshot
        self._recent[node] = salt
        self.nbytes += snapshot.nbytes
        while self.nbytes > self._budget:
            oldest, its_salt = self._recent.popitem(last=False)
            self._take_out(oldest, its_salt)

    def _take_out(self, node: Node[StateSnapshot], salt: str | None) -> None:
        tree = self._trees[salt]
        before = tree.label_bytes
        if node.value is not None:
            self.nbytes -= node.value.nbytes
        tree.remove(node)
        self.nbytes -= before - tree.label_bytes
        if not tree:
            del self._trees[salt]
