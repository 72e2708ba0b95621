"""Sequences of ids that a reply must not hold: their last id is kept out where the others come before it."""

from __future__ import annotations

from collections.abc import Sequence

from pararnn_core.sampling.mask_words import MaskWords, allows_nothing, mask_of


class BannedSequences:
    """The sequences of one request. longest: ids of a reply that decide what may come next."""

    def __init__(self, sequences: Sequence[Sequence[int]], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._by_beginning: dict[tuple[int, ...], set[int]] = {}
        for *beginning, last in sequences:
            self._by_beginning.setdefault(tuple(beginning), set()).add(last)
        self.longest = max(map(len, self._by_beginning), default=0)

    def restricted(self, words: MaskWords | None, ids: Sequence[int]) -> MaskWords | None:
        """Return the mask of the next id, from the one that it has without the sequences (None: any id).

        ids: the last of the reply, at least `longest` of them where it has so many.
        """
        tail = tuple(ids)
        banned: set[int] = set()
        for size in range(min(self.longest, len(tail)) + 1):
            banned |= self._by_beginning.get(tail[len(tail) - size :], set())
        if not banned:
            return words
        free: MaskWords = ~mask_of(banned, self._vocab_size)
        both = free if words is None else words & free
        # A grammar that allows nothing else wins, since the reply must follow it.
        return words if allows_nothing(both, self._vocab_size) else both
