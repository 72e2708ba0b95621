"""A deadline that moves often and is seldom reached."""

from __future__ import annotations

import math
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable


class Deadline:
    """A deadline that calls `expired` once, at the time that was set last."""

    # Moving it costs two assignments: the one timer of the loop looks at the time again when it fires.

    def __init__(self, loop: AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._ends = math.inf
        self._timer: TimerHandle | None = None
        self._fires = math.inf

    @property
    def is_set(self) -> bool:
        """True while a time is set that is not reached."""
        return self._ends < math.inf

    def set(self, seconds: float) -> None:
        """Set the time to so many seconds from now."""
        self._ends = self._loop.time() + seconds
        if self._ends < self._fires:
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

    def clear(self) -> None:
        """Remove the time."""
        self._ends = math.inf

    def close(self) -> None:
        """Cancel the timer."""
        self.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._fires = self._ends
        self._timer = self._loop.call_at(self._ends, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._fires = None, math.inf
        if not self.is_set:
            return
        # Loops fire up to a millisecond early.
        if self._loop.time() + 0.001 < self._ends:
            self._arm()
            return
        self.clear()
        self._expired()
