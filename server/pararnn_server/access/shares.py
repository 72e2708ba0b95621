"""Places that several keys share: none is ever without its own, and what nobody uses is for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Shares:
    """The places that each key holds of `total`.

    num_owners: keys that share them. Each has `own` places that no other takes, also while it has no work.
    """

    total: int
    num_owners: int = 1
    _held: Counter[str] = field(default_factory=Counter)

    @property
    def own(self) -> int:
        """Places kept for each key: half of an equal share; none where there is one key."""
        return self.total // (2 * self.num_owners) if self.num_owners > 1 else 0

    @property
    def most(self) -> int:
        """Places that one key may hold."""
        return self.total - (self.num_owners - 1) * self.own

    @property
    def held(self) -> Mapping[str, int]:
        """Places by key, of those keys that hold any."""
        return self._held

    @property
    def num_free(self) -> int:
        """Places that nobody holds."""
        return self.total - self._held.total()

    def room(self, owner: str) -> int:
        """Places that a key may take now: those that are free, less what is kept for the others."""
        # What another key holds beyond its own share does not shrink what is kept for it.
        others = sum(min(self.own, held) for each, held in self._held.items() if each != owner)
        return self.num_free - ((self.num_owners - 1) * self.own - others)

    def take(self, owner: str, count: int) -> None:
        """Count places as held. The caller has asked for room."""
        self._held[owner] += count

    def give(self, owner: str, count: int) -> None:
        """Return places that were taken."""
        self._held[owner] -= count
        # `held` lists only keys that hold some, and names must not pile up.
        if not self._held[owner]:
            del self._held[owner]
