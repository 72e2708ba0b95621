"""Recurrent cells whose trajectories can be solved in parallel. A cell has D channels with N states each."""

from pararnn_core.cells.base import Cell
from pararnn_core.cells.cell_check import CellCheck
from pararnn_core.cells.check import check_cell
from pararnn_core.cells.gru import ParaGRU
from pararnn_core.cells.lstm import ParaLSTM
from pararnn_core.cells.mingru import ParaMinGRU
from pararnn_core.cells.nlru import ParaNLRU
from pararnn_core.solvers.newton import NewtonOptions

CELLS: dict[str, type[Cell]] = {
    "gru": ParaGRU,
    "lstm": ParaLSTM,
    "nlru": ParaNLRU,
    "mingru": ParaMinGRU,
}
"""Cells that can be served, by native_name. The kernels have the same list in C++ (PARARNN_CELLS)."""


def cell_like(gates: int, recurrent: int, peepholes: int) -> str:
    """Return the name of the cell with these numbers of rows of B, A and C. Raises ValueError if none."""
    for name, cell in CELLS.items():
        if (cell.num_gates, cell.recurrent_rows(), cell.num_peepholes) == (gates, recurrent, peepholes):
            return name
    raise ValueError(f"no cell has {gates} gates, {recurrent} recurrent rows and {peepholes} peepholes")


__all__ = [
    "CELLS",
    "Cell",
    "CellCheck",
    "NewtonOptions",
    "ParaGRU",
    "ParaLSTM",
    "ParaMinGRU",
    "ParaNLRU",
    "cell_like",
    "check_cell",
]
