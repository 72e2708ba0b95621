"""The last ids of a context, as the bitmap that repetition_penalty reads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class RepeatWindow:
    """The ids of the last `size` places. bitmap: (ceil(V / 8),) uint8, as the `seen` part of a state."""

    def __init__(self, size: int, vocab_size: int, ids: Iterable[int] = ()) -> None:
        self._size = size
        self._ids: deque[int] = deque()
        self._counts: Counter[int] = Counter()
        self.bitmap: NDArray[np.uint8] = np.zeros((vocab_size + 7) // 8, np.uint8)
        for token_id in ids:
            self.push(token_id)

    def after(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Return the bitmap as it will be once these ids were pushed."""
        if not ids:
            return self.bitmap
        later = RepeatWindow(self._size, 8 * len(self.bitmap), [*self._ids, *ids])
        return later.bitmap

    def push(self, token_id: int) -> None:
        """Add the next id; the oldest one leaves a full window."""
        self._ids.append(token_id)
        self._counts[token_id] += 1
        self.bitmap[token_id // 8] |= 1 << token_id % 8
        if len(self._ids) > self._size:
            self._drop(self._ids.popleft())

    def _drop(self, token_id: int) -> None:
        self._counts[token_id] -= 1
        if not self._counts[token_id]:
            del self._counts[token_id]
            self.bitmap[token_id // 8] &= 255 ^ 1 << token_id % 8
