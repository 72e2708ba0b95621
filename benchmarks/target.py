"""What a figure is held against, and how that is said."""

from __future__ import annotations

from dataclasses import dataclass

TARGET_HEADINGS = ("target", "measured", "wanted", "reached")


@dataclass(frozen=True)
class Target:
    """value: what was measured, None where its figures are absent. wanted: at least, or at most."""

    what: str
    value: float | None
    wanted: float
    at_most: bool = False
    unit: str = "x"

    @property
    def is_reached(self) -> bool | None:
        """None where it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def target_row(target: Target) -> tuple[str, ...]:
    """In the order of TARGET_HEADINGS."""
    bound = "at most" if target.at_most else "at least"
    said = {None: "not measured", True: "yes", False: "no"}[target.is_reached]
    value = "" if target.value is None else f"{target.value:.2f} {target.unit}"
    return target.what, value, f"{bound} {target.wanted:g} {target.unit}", said
