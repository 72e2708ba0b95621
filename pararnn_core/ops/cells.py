"""The cells that the native library knows: csrc/params/cells.h."""

import functools
from typing import NamedTuple

from pararnn_core.ops.choices import number
from pararnn_core.ops.library import native


class CellSizes(NamedTuple):
    """Rows of a channel: gates of bx and of a, states, peepholes (rows of c)."""

    gates: int
    states: int
    peepholes: int


@functools.cache
def native_cells() -> dict[str, CellSizes]:
    """All cells by name, in the order of the library."""
    lines = (line.split() for line in str(native().cells()).splitlines())
    return {name: CellSizes(*map(int, sizes)) for name, *sizes in lines}


@functools.cache
def cell_number(cell: str) -> int:
    """The number by which native operations know a cell. Raises RuntimeError for one that none knows."""
    return number("cell", cell, {name: i for i, name in enumerate(native_cells())})
