"""How a GPU goes through a recurrence: step by step, or by Newton's method and with how many warps.

A channel of the sequential scan is a thread that takes one step after the other: its time is the longest
sequence's, whatever the number of channels, until the threads fill the chip. Newton gives a channel one, two
or four warps, its time warps, and does several times the work, but at all times of a tile at once: 128 steps
for each warp. So Newton wins where channels are few beside the chip's multiprocessors and sequences are long,
and with the more warps the fewer the channels are.

The table says so in numbers: per cell and type of bx, rows (channels per multiprocessor, steps), ascending.
The first row that has room for the channels counts; its steps are pairs (tokens, time warps), ascending:
from so many tokens of the longest sequence on, so many warps. Before the first, and where no row has room,
step by step. `measured_on` is the GPU on which `python -m pararnn_core.device.tune_solvers` found them; null:
they are an estimate from counting instructions (docs/gpu.md), and no GPU has been asked yet.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE_PATH = Path(__file__).with_name("solver_table.json")

STEP_BY_STEP = 0
"""In the place of a number of time warps."""

Steps = Sequence[tuple[int, int]]
"""(tokens, time warps): from so many tokens on."""

Rows = Sequence[tuple[float, Steps]]
"""(channels per multiprocessor, what counts up to there)."""


@dataclass(frozen=True)
class SolverTable:
    """rows: by cell, then by type of bx."""

    measured_on: str | None
    rows: Mapping[str, Mapping[str, Rows]]

    def time_warps(self, cell: str, dtype: str, channels: int, longest: int, multiprocessors: int) -> int:
        """Of Newton, or STEP_BY_STEP, as for a cell or type that is not in the table.

        channels: of all sequences together; longest: tokens of the longest sequence
        """
        for room, steps in self.rows.get(cell, {}).get(dtype, ()):
            if channels <= room * multiprocessors:
                reached = [warps for tokens, warps in steps if tokens <= longest]
                return reached[-1] if reached else STEP_BY_STEP
        return STEP_BY_STEP

    def encode(self) -> str:
        """The text of the file, a row a line."""
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
    """The table of the project, or another one."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        cell: {
            dtype: [(float(room), [(int(n), int(warps)) for n, warps in steps]) for room, steps in listed]
            for dtype, listed in types.items()
        }
        for cell, types in fields["rows"].items()
    }
    return SolverTable(fields["measured_on"], rows)
