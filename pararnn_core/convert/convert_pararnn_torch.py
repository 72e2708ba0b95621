"""Exact conversion of cells of the package pararnn-torch: its ParaGRU with mix='diag', and its ParaLSTM.

They keep a vector (D,) for each gate: a_z, a_r, a_n of a GRU, and a_f, a_z, a_o, c_f, c_o of an LSTM.
One linear layer serves all gates: W_x.weight (3 D, Din) and W_x.bias (3 D,). Its rows are gate by gate:
z, r, n of a GRU, and f, z, o of an LSTM, whose z is our g. They clamp recurrent weights at every use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.storage.untrusted_file import CheckpointError

MAX_RECURRENT_NORM = 0.5
"""Default of that package. A state dict does not contain the bound."""


class _Layout(NamedTuple):
    """Their names of a and c in our order of rows; the place of each of our gates in their linear layer."""

    a: tuple[str, ...]
    c: tuple[str, ...]
    gates: tuple[int, ...]


# The LSTM comes first, because both have a_z.
_LAYOUTS = (
    _Layout(a=("a_f", "a_o", "a_z"), c=("c_f", "c_o"), gates=(0, 2, 1)),
    _Layout(a=("a_z", "a_r", "a_n"), c=(), gates=(0, 1, 2)),
)
_WEIGHT, _BIAS = "W_x.weight", "W_x.bias"


def with_our_cells(
    source: Path, tensors: Mapping[str, Tensor], limit: float | None = MAX_RECURRENT_NORM
) -> dict[str, Tensor]:
    """Replace the tensors of each such cell by A, B, b and C under the same prefix; keep all others.

    limit: their max_recurrent_norm. Raises CheckpointError that names a cell whose shapes do not match.
    """
    result = dict(tensors)
    for name in tensors:
        if name.endswith(_WEIGHT):
            prefix = name.removesuffix(_WEIGHT)
            for layout in _LAYOUTS:
                if all(prefix + part in tensors for part in (*layout.a, *layout.c, _BIAS)):
                    _replace(source, result, prefix, layout, limit)
                    break
    return result


def _replace(
    source: Path, tensors: dict[str, Tensor], prefix: str, layout: _Layout, limit: float | None
) -> None:
    taken = {part: tensors.pop(prefix + part) for part in (*layout.a, *layout.c, _WEIGHT, _BIAS)}
    weight, channels, gates = taken[_WEIGHT], taken[layout.a[0]].numel(), len(layout.gates)
    wanted = dict.fromkeys((*layout.a, *layout.c), (channels,)) | {_BIAS: (gates * channels,)}
    wrong = [part for part, shape in wanted.items() if tuple(taken[part].shape) != shape]
    if wrong or weight.dim() != 2 or weight.shape[0] != gates * channels or not channels:
        names = ", ".join(f"{prefix}{part}" for part in wrong or [_WEIGHT])
        raise CheckpointError(source, f"holds no cell of pararnn-torch: {names} has a shape of another cell")
    order = list(layout.gates)
    by_gate = weight.view(gates, channels, weight.shape[1])[order]
    tensors[f"{prefix}A"] = _clamped([taken[part] for part in layout.a], limit)
    # Their linear layer is dense, which is one head here.
    tensors[f"{prefix}B"] = by_gate.permute(2, 0, 1).unsqueeze(0).contiguous()
    tensors[f"{prefix}b"] = taken[_BIAS].view(gates, channels)[order].contiguous()
    if layout.c:
        tensors[f"{prefix}C"] = _clamped([taken[part] for part in layout.c], limit)


def _clamped(rows: list[Tensor], limit: float | None) -> Tensor:
    # Stored weights may exceed the bound, because that package clamps only at use.
    stacked = torch.stack(rows)
    return stacked if limit is None else stacked.clamp(-limit, limit)
