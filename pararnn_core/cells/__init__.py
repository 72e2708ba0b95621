"""Recurrent cells whose trajectories can be solved in parallel.  D channels, N states each."""

from pararnn_core.cells.base import Cell
from pararnn_core.cells.cell_check import CellCheck
from pararnn_core.cells.check import check_cell
from pararnn_core.cells.gru import ParaGRU
from pararnn_core.cells.lstm import ParaLSTM

CELLS: dict[str, type[Cell]] = {"gru": ParaGRU, "lstm": ParaLSTM}
"""The cells that serve, by native_name. Kernels have them in csrc/params/cells.h; all else iterates both."""


def cell_like(gates: int, peepholes: int) -> str:
    """The name of the cell whose parameters have so many rows. Raises ValueError if there is none."""
    for name, cell in CELLS.items():
        if (cell.num_gates, cell.num_peepholes) == (gates, peepholes):
            return name
    raise ValueError(f"no cell has {gates} gates and {peepholes} peepholes")


__all__ = ["CELLS", "Cell", "CellCheck", "ParaGRU", "ParaLSTM", "cell_like", "check_cell"]
