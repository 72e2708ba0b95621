"""A cache of states of prompts and replies by their exact token ids."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pararnn_server.state_cache.prefix_tree import ID_BYTES, Node, PrefixTree

if TYPE_CHECKING:
    from pararnn_core.state import StateSnapshot


class Partition(NamedTuple):
    """Requests that share states: those of one key with one cache_salt, or none."""

    owner: str
    salt: str | None = None


class Hit(NamedTuple):
    """The state after the first `num_tokens` ids."""

    num_tokens: int
    snapshot: StateSnapshot


class StateCache:
    """States of one model in this process, for one thread at a time.

    A state is cached, or promised: then its place and its bytes are taken until it is computed.
    Every owner has a budget, from which its least recently used states go. Pinned ones stay for their time.
    Those of an owner take at most half of its budget.
    owner_bytes: budget for snapshots and ids, four bytes an id. 0: nothing is cached.
    """

    # Which prefixes there are, and which go first, follows from the calls of an owner alone. Neither the time
    # at which a promise is kept nor, by a budget for all, the work of others shows in an owner's misses.

    def __init__(self, owner_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._owner_bytes = owner_bytes
        self._clock = clock
        self._by_owner: dict[str, _OwnerStates] = {}

    @property
    def owner_bytes(self) -> int:
        """Bytes that one owner may hold."""
        return self._owner_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of snapshots and ids of all owners, without promised ones. Any thread may read it."""
        # A copy: the engine's thread may add an owner meanwhile.
        return sum(states.held_bytes for states in list(self._by_owner.values()))

    def taken_bytes(self, owner: str) -> int:
        """Return the bytes of an owner's states and ids, with promised ones. Any thread may call it."""
        # Promised ones count: the time at which they are read tells how busy the server is.
        states = self._by_owner.get(owner)
        return 0 if states is None else states.nbytes

    def longest(self, partition: Partition, packed_ids: bytes) -> int:
        """Return the number of leading ids that a cached or promised state covers, which counts as used.

        packed_ids: as `pack_ids` makes them.
        """
        states = self._by_owner.get(partition.owner)
        return 0 if states is None else states.longest(partition.salt, packed_ids) // ID_BYTES

    def find(self, partition: Partition, packed_ids: bytes) -> Hit | None:
        """Return the kept state of the longest exact prefix of `packed_ids`. It does not count as used."""
        states = self._by_owner.get(partition.owner)
        return None if states is None else states.find(partition.salt, packed_ids)

    def put(
        self,
        partition: Partition,
        packed_ids: bytes,
        num_tokens: int,
        take: Callable[[], StateSnapshot | None],
    ) -> None:
        """Cache the state after the first `num_tokens` ids. `take` copies it, if it is not there yet.

        A state that is None, or larger than a budget, is not cached.
        """
        if 0 < num_tokens * ID_BYTES < self._owner_bytes:
            states = self._by_owner.setdefault(partition.owner, _OwnerStates(self._owner_bytes))
            states.put(partition.salt, packed_ids, num_tokens * ID_BYTES, take)

    def promise(self, partition: Partition, packed_ids: bytes, num_tokens: int, state_bytes: int) -> None:
        """Take the place of the state after the first `num_tokens` ids, until `fill` brings it."""
        if num_tokens * ID_BYTES + state_bytes <= self._owner_bytes:
            states = self._by_owner.setdefault(partition.owner, _OwnerStates(self._owner_bytes))
            states.promise(partition.salt, packed_ids, num_tokens * ID_BYTES, state_bytes)

    def pin(self, partition: Partition, packed_ids: bytes, num_tokens: int, seconds: float) -> None:
        """Keep the state after the first `num_tokens` ids for so long. Nothing happens if it is not there."""
        states = self._by_owner.get(partition.owner)
        if states is not None:
            now = self._clock()
            states.pin(partition.salt, packed_ids, num_tokens * ID_BYTES, now, now + seconds)

    def owes(self, partition: Partition, packed_ids: bytes, num_tokens: int) -> bool:
        """Return True if the state after the first `num_tokens` ids is promised and not there yet."""
        states = self._by_owner.get(partition.owner)
        return (
            states is not None and states.owed(partition.salt, packed_ids, num_tokens * ID_BYTES) is not None
        )

    def fill(
        self,
        partition: Partition,
        packed_ids: bytes,
        num_tokens: int,
        take: Callable[[], StateSnapshot | None],
    ) -> None:
        """Bring a promised state. Nothing happens if it is there, or no longer promised."""
        states = self._by_owner.get(partition.owner)
        if states is not None:
            states.fill(partition.salt, packed_ids, num_tokens * ID_BYTES, take)


class _Entry:
    """A state, or the promise of one: snapshot None."""

    __slots__ = ("nbytes", "salt", "snapshot")

    def __init__(self, salt: str | None, nbytes: int, snapshot: StateSnapshot | None) -> None:
        self.salt = salt
        self.nbytes = nbytes
        self.snapshot = snapshot


class _OwnerStates:
    """All states of one owner, by salt.

    nbytes: with promised states. held_bytes: without.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._trees: dict[str | None, PrefixTree[_Entry]] = {}
        # A state is in one of the two: by its last use, or by the end of its pin.
        self._recent: OrderedDict[Node[_Entry], None] = OrderedDict()
        self._pinned: dict[Node[_Entry], float] = {}
        self._pinned_bytes = 0
        self.nbytes = 0
        self.held_bytes = 0

    def longest(self, salt: str | None, packed_ids: bytes) -> int:
        path = self._path(salt, packed_ids)
        if not path:
            return 0
        self._use(path[-1])
        return path[-1].depth

    def find(self, salt: str | None, packed_ids: bytes) -> Hit | None:
        # The use was counted at arrival, which does not depend on what others run.
        hit = None
        for node in self._path(salt, packed_ids):
            if node.value is not None and node.value.snapshot is not None:
                hit = Hit(node.depth // ID_BYTES, node.value.snapshot)
        return hit

    def put(
        self, salt: str | None, packed_ids: bytes, end: int, take: Callable[[], StateSnapshot | None]
    ) -> None:
        node = self._place(salt, packed_ids, end)
        if node.value is not None:
            self._use(node)
            self._fill(node.value, take)
            return
        snapshot = take()
        if snapshot is None or snapshot.nbytes + end > self._budget:
            # Without a value the new node would keep its ids for ever.
            self._take_out(node, salt)
            return
        self._keep(node, _Entry(salt, snapshot.nbytes, snapshot))

    def promise(self, salt: str | None, packed_ids: bytes, end: int, state_bytes: int) -> None:
        node = self._place(salt, packed_ids, end)
        if node.value is not None:
            self._use(node)
        else:
            self._keep(node, _Entry(salt, state_bytes, None))

    def owed(self, salt: str | None, packed_ids: bytes, end: int) -> _Entry | None:
        node = self._node_at(salt, packed_ids, end)
        is_owed = node is not None and node.value is not None and node.value.snapshot is None
        return node.value if node is not None and is_owed else None

    def pin(self, salt: str | None, packed_ids: bytes, end: int, now: float, until: float) -> None:
        for other in [other for other, end_of_pin in self._pinned.items() if end_of_pin <= now]:
            self._unpin(other)
        node = self._node_at(salt, packed_ids, end)
        if node is None:
            return
        if node not in self._pinned:
            del self._recent[node]
            self._pinned_bytes += _pin_bytes(node)
        self._pinned[node] = max(until, self._pinned.get(node, until))
        # The other half is left to states that nobody pins.
        while 2 * self._pinned_bytes > self._budget:
            self._unpin(min(self._pinned, key=self._pinned.__getitem__))

    def fill(
        self, salt: str | None, packed_ids: bytes, end: int, take: Callable[[], StateSnapshot | None]
    ) -> None:
        entry = self.owed(salt, packed_ids, end)
        if entry is not None:
            self._fill(entry, take)

    def _use(self, node: Node[_Entry]) -> None:
        if node not in self._pinned:
            self._recent.move_to_end(node)

    def _unpin(self, node: Node[_Entry]) -> None:
        del self._pinned[node]
        self._recent[node] = None
        self._pinned_bytes -= _pin_bytes(node)

    def _node_at(self, salt: str | None, packed_ids: bytes, end: int) -> Node[_Entry] | None:
        """Return the node of the first `end` bytes, if it holds a state or a promise."""
        path = self._path(salt, packed_ids[:end])
        return path[-1] if path and path[-1].depth == end else None

    def _fill(self, entry: _Entry, take: Callable[[], StateSnapshot | None]) -> None:
        if entry.snapshot is None and (snapshot := take()) is not None:
            entry.snapshot = snapshot
            self.held_bytes += entry.nbytes

    def _path(self, salt: str | None, packed_ids: bytes) -> list[Node[_Entry]]:
        tree = self._trees.get(salt)
        return [] if tree is None else tree.prefixes(packed_ids)

    def _place(self, salt: str | None, packed_ids: bytes, end: int) -> Node[_Entry]:
        tree = self._trees.setdefault(salt, PrefixTree())
        before = tree.label_bytes
        node = tree.node(packed_ids, end)
        self._count(tree.label_bytes - before, tree.label_bytes - before)
        return node

    def _keep(self, node: Node[_Entry], entry: _Entry) -> None:
        node.value = entry
        self._recent[node] = None
        self._count(entry.nbytes, 0 if entry.snapshot is None else entry.nbytes)
        # Promised bytes count too: what is evicted must not depend on when they are filled.
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


def _pin_bytes(node: Node[_Entry]) -> int:
    """Return the most bytes that the state and its ids take."""
    assert node.value is not None
    return node.value.nbytes + node.depth
