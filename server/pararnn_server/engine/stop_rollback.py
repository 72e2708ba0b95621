"""Stop rollback: copies of a slot's state, to return to one before the ids of a stop string."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pararnn_core.state import StateSnapshot


class StopRollback:
    """At most two copies, each taken after a number of the reply's ids was fed."""

    # One would do if a failing match never gave way to one that begins later in the text held back.
    # With the second, the ids between the older copy and the first id held back stay few.

    def __init__(self, take: Callable[[], StateSnapshot]) -> None:
        self._take = take
        self._copies: deque[tuple[int, StateSnapshot]] = deque()

    def __len__(self) -> int:
        return len(self._copies)

    def follow(self, num_fed: int, num_shown: int, holds_back: bool) -> None:
        """Take or drop copies after each id.

        num_fed: ids in the slot's state. num_shown: ids that no stop string can take back.
        """
        if not holds_back:
            # What is shown cannot be taken back, and each copy is as large as a state.
            self._copies.clear()
            return
        while len(self._copies) > 1 and self._copies[1][0] <= num_shown:
            self._copies.popleft()
        if not self._copies or self._copies[-1][0] <= num_shown:
            self._copies.append((num_fed, self._take()))

    def at_most(self, num_ids: int) -> tuple[int, StateSnapshot]:
        """Return the latest copy with at most `num_ids` ids. Raises LookupError if there is none."""
        for position, snapshot in reversed(self._copies):
            if position <= num_ids:
                return position, snapshot
        raise LookupError(f"no copy of the state at or before id {num_ids} of the reply")
