"""A target of a figure, and its row in a table."""

from __future__ import annotations

from dataclasses import dataclass

TARGET_HEADINGS = ("target", "measured", "wanted", "reached")


@dataclass(frozen=True)
class Target:
    """A target. value: the measured figure, None if it is absent; wanted: its least or largest value."""

    what: str
    value: float | None
    wanted: float
    at_most: bool = False
    unit: str = "x"

    @property
    def is_reached(self) -> bool | None:
        """True if the target is reached; None if the figure was not measured."""
        if self.value is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def target_row(target: Target) -> tuple[str, ...]:
    """Return a row with the columns TARGET_HEADINGS."""
    bound = "at most" if target.at_most else "at least"
    said = {None: "not measured", True: "yes", False: "no"}[target.is_reached]
    value = "" if target.value is None else f"{target.value:.2f} {target.unit}"
    return target.what, value, f"{bound} {target.wanted:g} {target.unit}", said
