"""Weights that were trained elsewhere to checkpoints and cells."""

from pararnn_core.convert.convert import Conversion, ConvertedCells, convert_checkpoint, load_cell

__all__ = ["Conversion", "ConvertedCells", "convert_checkpoint", "load_cell"]
