"""Lower bounds of a scan's time by issue slots and special-function units, from counts of instructions.

The counts are in `instruction_counts.json`, from the output of `cuobjdump -sass` for the compiled kernels.
They are by solver ("sequential"; "newton" with one time warp, "newton 2" with two), then by cell and type of
bx ("gru float32"). Each has the instructions of a channel's step: all of them, and those of the
special-function units. Those of each Newton update are counted separately.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COUNTS_PATH = Path(__file__).with_name("instruction_counts.json")

ISSUED, SPECIAL = 128, 16
"""Lanes that a multiprocessor of sm_80 to sm_100 serves in a cycle: of any instruction, of MUFU."""


@dataclass(frozen=True)
class StepCount:
    """Instructions of one lane for a step of a channel: once, and for each Newton update."""

    issued: float
    special: float
    issued_per_update: float = 0.0
    special_per_update: float = 0.0

    def cycles(self, updates: float) -> float:
        """Return the least cycles of a multiprocessor for one step of one channel."""
        issued = self.issued + updates * self.issued_per_update
        special = self.special + updates * self.special_per_update
        return max(issued / ISSUED, special / SPECIAL)


Counts = Mapping[str, Mapping[str, StepCount]]


def read_counts(path: Path = COUNTS_PATH) -> Counts:
    """Read the counts; empty if there is no file."""
    if not path.exists():
        return {}
    return {
        solver: {name: StepCount(**fields) for name, fields in by_name.items()}
        for solver, by_name in json.loads(path.read_text(encoding="utf-8")).items()
    }


def least_seconds(
    counts: Counts, solver: str, name: str, steps: int, updates: float, cycles_per_second: float | None
) -> float | None:
    """Return the least seconds of a scan; None: unknown.

    steps: of all channels together; cycles_per_second: of all multiprocessors together
    """
    count = counts.get(solver, {}).get(name)
    if count is None or cycles_per_second is None:
        return None
    return steps * count.cycles(updates) / cycles_per_second
