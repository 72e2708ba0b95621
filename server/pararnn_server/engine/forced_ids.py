"""Ids of a reply that its mask has fixed: they are fed without being drawn."""

from __future__ import annotations

from collections import deque
from itertools import islice

from pararnn_server.engine.token_mask import ChoiceMask

# Of those that wait; more are asked for as they are taken.
MIN_KNOWN = 64


class ForcedIds:
    """The next ids of a reply, as far as they are known. Falsy where the next id is drawn.

    is_whole: nothing is fixed beyond the last of them.
    """

    def __init__(self) -> None:
        self._ids: deque[int] = deque()
        self.is_whole = True

    def __len__(self) -> int:
        return len(self._ids)

    def first(self, count: int) -> list[int]:
        """Return the next ids, at most `count`."""
        return list(islice(self._ids, count))

    def take(self) -> None:
        """Remove the next id."""
        self._ids.popleft()

    def look_ahead(self, mask: ChoiceMask) -> None:
        """Ask the mask for more, after an id was drawn or taken."""
        self.is_whole = False
        while len(self._ids) < MIN_KNOWN:
            more = mask.forced()
            if not more:
                self.is_whole = True
                return
            self._ids.extend(more)
