"""Recurrent cells whose trajectories can be solved in parallel. A cell has D channels with N states each."""

from pararnn_core.cells.base import Cell
from pararnn_core.cells.cell_check import CellCheck
from pararnn_core.cells.check import check_cell
from pararnn_core.cells.gru import ParaGRU
from pararnn_core.cells.lstm import ParaLSTM
from pararnn_core.solvers.newton import NewtonOptions

CELLS: dict[str, type[Cell]] = {"gru": ParaGRU, "lstm": ParaLSTM}
"""Cells that can be served, by native_name. The kernels have the same list in C++ (PARARNN_CELLS)."""


def cell_like(gates: int, peepholes: int) -> str:
    """Return the name of the cell with these numbers of gates and peepholes. Raises ValueError if none."""
    for name, cell in CELLS.items():
        if (cell.num_gates, cell.num_peepholes) == (gates, peepholes):
            return name
    raise ValueError(f"no cell has {gates} gates and {peepholes} peepholes")


__all__ = ["CELLS", "Cell", "CellCheck", "NewtonOptions", "ParaGRU", "ParaLSTM", "cell_like", "check_cell"]
