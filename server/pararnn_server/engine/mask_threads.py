"""Threads that make the masks of the next ids while the model runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

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
            groups[key, type(mask.mask)].append(mask)
        for (_, kind), group in groups.items():
            job = self._pool.submit(_make, kind, [mask.mask for mask in group])
            for place, mask in enumerate(group):
                mask.coming = job, place


def _make(kind: type[TokenMask], masks: Sequence[TokenMask]) -> Sequence[Words]:
    try:
        return kind.allowed_of(masks)
    except Exception as error:  # whoever waits for a mask logs it
        return [error] * len(masks)
