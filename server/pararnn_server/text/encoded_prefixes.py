"""Ids of conversations that were encoded before: each comes back with every turn, and only its end is new."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator

from pararnn_server.state_cache.state_cache import Partition

MAX_CHARS = 8 << 20
MAX_PER_PARTITION = 256
_ENTRY_CHARS = (
    1024  # what an entry may take beside its text: many short ones, each with a salt of its own, add up
)


class EncodedPrefixes:
    """Forgets the least recently used; what one partition left, no other finds.

    max_chars: of all texts together, an entry counting 1,024 more.
    """

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._partitions: OrderedDict[Partition, OrderedDict[str, array[int]]] = OrderedDict()
        self._max_chars = max_chars
        self._num_chars = 0

    def longest(self, partition: Partition, text: str) -> tuple[str, array[int]]:
        """The longest text that `text` begins with, and a copy of its ids; empty where there is none."""
        found = next(self._beginnings(partition, text), None)
        if found is None:
            return "", array("i")
        self._use(partition, found)
        # A copy, because the caller appends to it.
        return found, self._partitions[partition][found][:]

    def put(self, partition: Partition, text: str, ids: array[int]) -> None:
        """Store the ids of a text. They replace those of every shorter text that it begins with."""
        if not text:
            return
        # A conversation grows: its shorter form would only take space.
        for earlier in list(self._beginnings(partition, text)):
            self._drop(partition, earlier)
        self._partitions.setdefault(partition, OrderedDict())[text] = ids[:]
        self._num_chars += len(text) + _ENTRY_CHARS
        self._use(partition, text)
        if len(self._partitions[partition]) > MAX_PER_PARTITION:
            self._drop(partition, next(iter(self._partitions[partition])))
        while self._num_chars > self._max_chars:
            oldest = next(iter(self._partitions))
            self._drop(oldest, next(iter(self._partitions[oldest])))

    def _beginnings(self, partition: Partition, text: str) -> Iterator[str]:
        """Yield the stored beginnings of `text`, longest first."""
        texts = self._partitions.get(partition, ())
        return (each for each in sorted(texts, key=len, reverse=True) if text.startswith(each))

    def _use(self, partition: Partition, text: str) -> None:
        self._partitions.move_to_end(partition)
        self._partitions[partition].move_to_end(text)

    def _drop(self, partition: Partition, text: str) -> None:
        texts = self._partitions.get(partition, OrderedDict())
        if texts.pop(text, None) is not None:
            self._num_chars -= len(text) + _ENTRY_CHARS
            if not texts:
                del self._partitions[partition]
