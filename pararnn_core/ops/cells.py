"""The cells of the native library."""

import functools
from typing import NamedTuple

from pararnn_core.ops.choices import number
from pararnn_core.ops.library import native


class CellSizes(NamedTuple):
    """Rows of a channel. gates: of bx; states: of the state; peepholes: of c; recurrent: of a."""

    gates: int
    states: int
    peepholes: int
    recurrent: int


@functools.cache
def native_cells() -> dict[str, CellSizes]:
    """Return the sizes of all cells by name, in the order of the library."""
    lines = (line.split() for line in str(native().cells()).splitlines())
    return {
        name: CellSizes(int(gates), int(states), int(peepholes), native().recurrent_rows(cell))
        for cell, (name, gates, states, peepholes) in enumerate(lines)
    }


@functools.cache
def cell_number(cell: str) -> int:
    """Return the number of a cell in native operations. Raises RuntimeError for an unknown cell."""
    return number("cell", cell, {name: i for i, name in enumerate(native_cells())})
