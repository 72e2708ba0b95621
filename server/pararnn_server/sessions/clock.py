"""Seconds since 1970 that do not jump: a session is as old as the time since its last use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# Corrections of the system clock up to this many seconds are followed.
FOLLOWED_SECONDS = 60.0

logger = logging.getLogger(__name__)


def seconds_since_boot() -> float:
    """Return seconds since boot, with suspended time where the system can tell."""
    # A monotonic clock stops while the machine sleeps, and sessions would live longer.
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class SteadyClock:
    """The system clock without its jumps while the server runs. For one thread."""

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = seconds_since_boot
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._offset = wall() - elapsed()
        self._is_apart = False

    def __call__(self) -> float:
        """Seconds since 1970."""
        elapsed = self._elapsed()
        jump = self._wall() - elapsed - self._offset
        was_apart, self._is_apart = self._is_apart, abs(jump) > FOLLOWED_SECONDS
        if not self._is_apart:
            self._offset += jump
        elif not was_apart:
            logger.warning(
                "the system clock jumped by %.0f s: sessions keep the time from before until a restart", jump
            )
        return elapsed + self._offset
