"""The choice of a GPU's solver: step by step, or Newton's method with a number of warps.

In the sequential scan a channel is a thread that takes one step after the other. Its time is that of the
longest sequence, until the threads fill the chip. Newton gives a channel one, two or four warps, its time
warps. It does several times the work, but for all steps of a tile at once: 128 steps for each warp. So Newton
wins if there are few channels for each multiprocessor and sequences are long. The fewer the channels, the
more warps are best.

For each cell and type of bx the table has rows (channels per multiprocessor, steps), ascending. The first row
with room for the channels counts. Its steps are pairs (tokens, time warps), ascending: from this number of
tokens in the longest sequence on, this number of warps. Shorter sequences, and more channels than any row has
room for, go step by step. `measured_on` is the GPU on which `python -m pararnn_core.device.tune_solvers`
measured the table. null means an estimate from counts of instructions (docs/gpu.md).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE_PATH = Path(__file__).with_name("solver_table.json")

STEP_BY_STEP = 0
"""Value of time_warps for the sequential scan."""

Steps = Sequence[tuple[int, int]]
"""Pairs (tokens, time warps): the warps apply from this number of tokens on."""

Rows = Sequence[tuple[float, Steps]]
"""Pairs (channels per multiprocessor, steps that apply up to this number)."""


@dataclass(frozen=True)
class SolverTable:
    """The table. measured_on: the GPU's name; rows: by cell, then by type of bx."""

    measured_on: str | None
    rows: Mapping[str, Mapping[str, Rows]]

    def time_warps(self, cell: str, dtype: str, channels: int, longest: int, multiprocessors: int) -> int:
        """Return the number of time warps, or STEP_BY_STEP, also for cells and types outside of the table.

        channels: of all sequences together; longest: tokens of the longest sequence
        """
        for room, steps in self.rows.get(cell, {}).get(dtype, ()):
            if channels <= room * multiprocessors:
                reached = [warps for tokens, warps in steps if tokens <= longest]
                return reached[-1] if reached else STEP_BY_STEP
        return STEP_BY_STEP

    def encode(self) -> str:
        """Return the text of the file, with one row in a line."""
        # json.dumps with an indent would put every number on a line of its own.
        cells = ",\n".join(
            f"    {json.dumps(cell)}: {{\n{_encode_types(types)}\n    }}" for cell, types in self.rows.items()
        )
        return f'{{\n  "measured_on": {json.dumps(self.measured_on)},\n  "rows": {{\n{cells}\n  }}\n}}\n'


def _encode_types(types: Mapping[str, Rows]) -> str:
    lists = (
        f"      {json.dumps(dtype)}: ["
        + ",".join(f"\n        {json.dumps(row)}" for row in rows)
        + "\n      ]"
        for dtype, rows in types.items()
    )
    return ",\n".join(lists)


@functools.cache
def read_table(path: Path = TABLE_PATH) -> SolverTable:
    """Read a table, by default that of the project."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        cell: {
            dtype: [(float(room), [(int(n), int(warps)) for n, warps in steps]) for room, steps in listed]
            for dtype, listed in types.items()
        }
        for cell, types in fields["rows"].items()
    }
    return SolverTable(fields["measured_on"], rows)
