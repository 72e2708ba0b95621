"""When Newton's method is the faster way through a recurrence on a GPU, and when one step after the other is.

A channel of the sequential scan is a thread that takes one step after the other: its time is the longest
sequence's, whatever the number of channels, until the threads fill the chip. Newton gives a channel a warp
and does several times the work, but at all times of a tile at once. So Newton wins where channels are few
beside the chip's multiprocessors and sequences are long.

The table says so in numbers: per cell and type of bx, pairs (channels per multiprocessor, tokens), ascending.
The first pair that has room for the channels counts: Newton from so many tokens of the longest sequence on.
Where none has room, step by step. `measured_on` is the GPU on which `python -m pararnn_core.tune_solvers`
found them; null: they are an estimate from counting instructions, and no GPU has been asked yet.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE_PATH = Path(__file__).with_name("solver_table.json")

Thresholds = Sequence[tuple[float, int]]


@dataclass(frozen=True)
class SolverTable:
    """newton_from: by cell, then by type of bx."""

    measured_on: str | None
    newton_from: Mapping[str, Mapping[str, Thresholds]]

    def prefers_newton(
        self, cell: str, dtype: str, channels: int, longest: int, multiprocessors: int
    ) -> bool:
        """channels: of all sequences together. A cell or type that is not in the table is never Newton's."""
        for room, tokens in self.newton_from.get(cell, {}).get(dtype, ()):
            if channels <= room * multiprocessors:
                return longest >= tokens
        return False

    def encode(self) -> str:
        """The text of the file."""
        return json.dumps({"measured_on": self.measured_on, "newton_from": self.newton_from}, indent=2) + "\n"


@functools.cache
def read_table(path: Path = TABLE_PATH) -> SolverTable:
    """The table of the project, or another one."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    newton_from = {
        cell: {
            dtype: [(float(room), int(tokens)) for room, tokens in pairs] for dtype, pairs in types.items()
        }
        for cell, types in fields["newton_from"].items()
    }
    return SolverTable(fields["measured_on"], newton_from)
