"""Wishes of a request about the state cache: places of its prompt whose states are kept for a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Breakpoint(NamedTuple):
    """The state after the first `num_tokens` ids of a prompt is pinned for so many seconds."""

    num_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Use of the state cache by one prompt.

    breakpoints: states that are pinned, in rising order.
    is_explicit: no other state is kept; and without breakpoints none is looked up either.
    """

    breakpoints: Sequence[Breakpoint] = ()
    is_explicit: bool = False

    @property
    def is_off(self) -> bool:
        """True if the request neither reads nor writes states."""
        return self.is_explicit and not self.breakpoints


PLAIN_USE = CacheUse()
