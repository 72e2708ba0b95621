"""Conversion of single recurrent cells that were trained elsewhere, without a language model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from pararnn_core.cells import CELLS, Cell, cell_like
from pararnn_core.checkpoint.skeleton import skeleton
from pararnn_core.convert.convert_pararnn_torch import MAX_RECURRENT_NORM, with_our_cells
from pararnn_core.convert.convert_source import read_source
from pararnn_core.storage.atomic_directory import replacing
from pararnn_core.storage.tensor_file import write_tensors
from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.weight_files import WEIGHTS

PathLike = str | os.PathLike[str]

_NAMES = ("A", "B", "b", "C")
_OF_A_CELL = re.compile(r"(.*\.)?[ABbC]")


class ConvertedCells(NamedTuple):
    """The cells that were written. kinds: class name by the prefix of the cell's tensor names."""

    kinds: dict[str, str]


def prefixes_of(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the name prefix of each cell if all tensors belong to cells, else nothing."""
    if not all(_OF_A_CELL.fullmatch(name) for name in tensors):
        return []
    return sorted({name[:-1] for name in tensors})


def write_cells(source: Path, tensors: Mapping[str, Tensor], target: Path) -> ConvertedCells:
    """Check the cells and write them into the new directory `target`, from which load_cell reads them."""
    if target.exists():
        raise CheckpointError(target, "exists: cells are written into a new directory; give another path")
    cells = {prefix: cell_of(source, tensors, prefix) for prefix in prefixes_of(tensors)}
    with replacing(target, keep=lambda name: False) as fresh:
        # safetensors refuses tensors that are not contiguous.
        write_tensors({name: t.contiguous() for name, t in tensors.items()}, fresh / WEIGHTS)
    return ConvertedCells({prefix: type(cell).__name__ for prefix, cell in cells.items()})


def load_cell(
    src: PathLike,
    key_map: Mapping[str, str] | None = None,
    allow_pickle: bool = False,
    prefix: str = "",
    max_recurrent_norm: float | None = MAX_RECURRENT_NORM,
) -> Cell:
    """Load a cell from the original's parameters A (G, D), B (H, Din/H, G, D/H), b (G, D) and C (P, D).

    key_map: "A", "B", "b", "C" -> names in the source; each is its own name by default
    prefix: of all names, such as "layers.0."; optional for a source with one cell
    max_recurrent_norm: the bound of a cell of pararnn-torch when it was trained
    The dtype does not change. Cells of pararnn-torch are read too.
    """
    path = Path(src)
    tensors = with_our_cells(path, read_source(path, allow_pickle), max_recurrent_norm)
    found = prefixes_of(tensors)
    if not prefix and key_map is None and "A" not in tensors and found:
        if len(found) > 1:
            raise CheckpointError(path, f"holds several cells: give one of the prefixes {', '.join(found)}")
        prefix = found[0]
    return cell_of(path, tensors, prefix, key_map or {})


def cell_of(
    path: Path, tensors: Mapping[str, Tensor], prefix: str, key_map: Mapping[str, str] | None = None
) -> Cell:
    """Make a cell of the tensors with these names. Raises CheckpointError."""
    names = {name: prefix + (key_map or {}).get(name, name) for name in _NAMES}
    found = {ours: tensors[theirs] for ours, theirs in names.items() if theirs in tensors}
    missing = [names[name] for name in ("A", "B", "b") if name not in found]
    if missing:
        raise CheckpointError(
            path, f"holds no {', '.join(missing)}: give a key map to the cell's A, B, b and C"
        )
    if found["B"].dim() != 4:
        raise CheckpointError(
            path, f"{names['B']} must be (H, Din/H, gates, D/H), got {tuple(found['B'].shape)}"
        )
    heads, inputs, gates, channels = found["B"].shape
    try:
        cell_type = CELLS[cell_like(gates, len(found["A"]), len(found["C"]) if "C" in found else 0)]
        with skeleton():
            cell = cell_type(heads * inputs, heads * channels, heads)
        # The skeleton has no memory to copy into; assigning also keeps the dtype.
        cell.load_state_dict(found, assign=True)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(path, f"holds no cell that is known here: {error}") from None
    return cell
