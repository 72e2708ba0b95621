"""A compressed tree from sequences of token ids to values. Every step compares ids, none a hash."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Generic, TypeVar

V = TypeVar("V")

ID_BYTES = 4


def id_array(token_ids: Sequence[int]) -> array[int]:
    """Return ids in 32 bits each, the same array if they are. Raises OverflowError for a larger id."""
    return token_ids if isinstance(token_ids, array) and token_ids.typecode == "i" else array("i", token_ids)


def pack_ids(token_ids: Sequence[int]) -> bytes:
    """Return four bytes an id, in which a prefix of ids is a prefix of bytes."""
    return id_array(token_ids).tobytes()


class Node(Generic[V]):
    """A sequence that holds a value, or at which two longer ones part.

    label: the ids between the parent and here.  depth: bytes of the whole sequence.
    """

    __slots__ = ("children", "depth", "label", "parent", "value")

    def __init__(self, parent: Node[V] | None, label: bytes, depth: int) -> None:
        self.parent = parent
        self.label = label
        self.depth = depth
        self.children: dict[bytes, Node[V]] = {}
        self.value: V | None = None


class PrefixTree(Generic[V]):
    """Values by sequences from `pack_ids`. A search compares the sequence with the tree's bytes once.

    label_bytes: ids held, once for all sequences that share them.
    """

    def __init__(self) -> None:
        self._root: Node[V] = Node(None, b"", 0)
        self.label_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._root.children)

    def prefixes(self, packed_ids: bytes) -> list[Node[V]]:
        """Return the nodes of all prefixes of `packed_ids` that hold a value, the shortest first."""
        node, found = self._root, []
        while (child := node.children.get(packed_ids[node.depth : node.depth + ID_BYTES])) is not None:
            # In place: a slice would copy the ids.
            if not packed_ids.startswith(child.label, node.depth):
                break
            node = child
            if node.value is not None:
                found.append(node)
        return found

    def node(self, packed_ids: bytes, end: int) -> Node[V]:
        """Return the node of the first `end` > 0 bytes, made if missing. Give it a value or remove it."""
        node = self._root
        while node.depth < end:
            child = node.children.get(packed_ids[node.depth : node.depth + ID_BYTES])
            if child is None:
                return self._grow(node, packed_ids[node.depth : end])
            shared = _shared_bytes(packed_ids, node.depth, end, child.label)
            node = child if shared == len(child.label) else self._split(child, shared)
        return node

    def remove(self, node: Node[V]) -> None:
        """Remove the value, and the ids that no other value needs."""
        node.value = None
        parent = node.parent
        if parent is None:
            return
        if not node.children:
            del parent.children[node.label[:ID_BYTES]]
            self.label_bytes -= len(node.label)
            node = parent
        # Else chains of empty nodes would stay after evictions.
        self._join(node)

    def _grow(self, parent: Node[V], label: bytes) -> Node[V]:
        node = Node(parent, label, parent.depth + len(label))
        parent.children[label[:ID_BYTES]] = node
        self.label_bytes += len(label)
        return node

    def _split(self, node: Node[V], at: int) -> Node[V]:
        """Insert a node `at` bytes into the label of `node`, above it."""
        parent = node.parent
        assert parent is not None
        upper: Node[V] = Node(parent, node.label[:at], parent.depth + at)
        parent.children[upper.label[:ID_BYTES]] = upper
        node.parent, node.label = upper, node.label[at:]
        upper.children[node.label[:ID_BYTES]] = node
        return upper

    def _join(self, node: Node[V]) -> None:
        """Join a node without a value with its child, if that is its only one."""
        if node.parent is None or node.value is not None or len(node.children) != 1:
            return
        [child] = node.children.values()
        child.label = node.label + child.label
        child.parent = node.parent
        node.parent.children[child.label[:ID_BYTES]] = child


def _shared_bytes(packed_ids: bytes, start: int, end: int, label: bytes) -> int:
    """Return the number of bytes of `label` that are at `start` of the sequence, in whole ids."""
    # By halving: to compare one long piece of bytes is much faster than id by id.
    if start + len(label) <= end and packed_ids.startswith(label, start):
        return len(label)
    low, high = 0, min(len(label), end - start) // ID_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if packed_ids.startswith(label[low * ID_BYTES : middle * ID_BYTES], start + low * ID_BYTES):
            low = middle
        else:
            high = middle - 1
    return low * ID_BYTES
