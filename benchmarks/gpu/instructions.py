"""How fast the chip's issue slots and special-function units let a scan be, from counts of its instructions.

The counts are data, `instruction_counts.json`: what `cuobjdump -sass` shows of the compiled kernels. By way
("sequential"; "newton", with one time warp, "newton 2" with two), then by cell and type of bx ("gru
float32"): the instructions of a channel's step, all of them and those of the special-function units;
Newton's that come with each update apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COUNTS_PATH = Path(__file__).with_name("instruction_counts.json")

ISSUED, SPECIAL = 128, 16
"""Lanes whose instruction a multiprocessor of sm_80 to sm_100 takes on in a cycle: of any kind, of MUFU."""


@dataclass(frozen=True)
class StepCount:
    """Instructions of one lane for one step of one channel: once, and again with each update of Newton's."""

    issued: float
    special: float
    issued_per_update: float = 0.0
    special_per_update: float = 0.0

    def cycles(self, updates: float) -> float:
        """Of a multiprocessor for one step of one channel, at least."""
        issued = self.issued + updates * self.issued_per_update
        special = self.special + updates * self.special_per_update
        return max(issued / ISSUED, special / SPECIAL)


Counts = Mapping[str, Mapping[str, StepCount]]


def read_counts(path: Path = COUNTS_PATH) -> Counts:
    """Nothing where nobody has counted yet."""
    if not path.exists():
        return {}
    return {
        way: {name: StepCount(**fields) for name, fields in by_name.items()}
        for way, by_name in json.loads(path.read_text(encoding="utf-8")).items()
    }


def least_seconds(
    counts: Counts, way: str, name: str, steps: int, updates: float, cycles_per_second: float | None
) -> float | None:
    """steps: of all channels together; cycles_per_second: of all multiprocessors together. None: unknown."""
    count = counts.get(way, {}).get(name)
    if count is None or cycles_per_second is None:
        return None
    return steps * count.cycles(updates) / cycles_per_second
