"""Steps for the keys alone that have little running, so that others cannot slow them down."""

from __future__ import annotations

# Of the time of steps that carry everything.
LIGHT_SHARE = 1.0


class LightSteps:
    """Share of light keys: between two steps for everybody they get LIGHT_SHARE of that time for themselves.

    Without them a reply waits with each of its tokens for 63 replies of another key. Has no clock.
    """

    def __init__(self) -> None:
        self._seconds_left = 0.0

    @property
    def is_due(self) -> bool:
        """True if the next step may be for light keys alone."""
        return self._seconds_left > 0.0

    def observe(self, seconds: float, *, was_light: bool) -> None:
        """Count a step that was taken. Time that light keys left unused is not kept for later."""
        if was_light:
            self._seconds_left -= seconds
        else:
            # A light step that took too long takes from the next share.
            self._seconds_left = min(self._seconds_left, 0.0) + LIGHT_SHARE * seconds
