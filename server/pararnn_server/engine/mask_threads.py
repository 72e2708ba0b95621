"""Threads that make the masks of the next ids while the model runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pararnn_server.engine.token_mask import ChoiceMask, TokenMask, Words

# Of different keys: the masks of one may take long.
NUM_THREADS = 4


class MaskThreads:
    """Makes masks: one call for all replies of a key, so that no key waits for the masks of others."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(NUM_THREADS, "masks")

    def start(self, masks: Iterable[tuple[str, ChoiceMask]]) -> None:
        """Begin to make the next masks. Each comes with the key that it belongs to."""
        groups: defaultdict[tuple[str, type[TokenMask]], list[ChoiceMask]] = defaultdict(list)
        for key, mask in masks:
            mask.words = Future()
            groups[key, type(mask.mask)].append(mask)
        for (_, kind), group in groups.items():
            futures = [mask.words for mask in group if mask.words is not None]
            self._pool.submit(_make, kind, [mask.mask for mask in group], futures)


def _make(kind: type[TokenMask], masks: Sequence[TokenMask], futures: Sequence[Future[Words]]) -> None:
    found: Sequence[Words]
    try:
        found = kind.allowed_of(masks)
    except Exception as error:  # whoever waits for a mask logs it
        found = [error] * len(masks)
    for future, words in zip(futures, found, strict=True):
        future.set_result(words)
