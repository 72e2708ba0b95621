"""The recurrent cells, and the base from which others are written."""

from pararnn_core.cells.base import Cell
from pararnn_core.cells.gru import ParaGRU
from pararnn_core.cells.lstm import ParaLSTM

__all__ = ["Cell", "ParaGRU", "ParaLSTM"]
