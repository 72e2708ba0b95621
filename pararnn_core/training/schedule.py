"""Learning rate over a run: warm-up, a long constant part, and a decay to zero at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass

WARMUP = 0.01
DECAY = 0.4


def learning_rate_factor(progress: float) -> float:
    """Return a trapezoid with peak 1 that is 0 at progress 1. progress: part of the run done, in [0, 1]."""
    return max(0.0, min(1.0, progress / WARMUP, (1.0 - progress) / DECAY))


@dataclass
class Budget:
    """Length of a run: in steps (reproducible), in minutes of this machine, or the shorter of both.

    elapsed: seconds spent by earlier parts of the run. Raises ValueError if neither limit is given.
    """

    max_steps: int | None
    max_minutes: float | None
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_minutes is None:
            raise ValueError("give --steps or --minutes: a run must end")
        self._start = time.monotonic() - self.elapsed

    def seconds(self) -> float:
        """Return the seconds of the whole run so far."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Return the part of the run done before this step, at least 1 after its end."""
        parts = []
        if self.max_steps is not None:
            parts.append(step / self.max_steps)
        if self.max_minutes is not None:
            parts.append(self.seconds() / (60 * self.max_minutes))
        return max(parts)
