"""Trained mixers in one small compressed file, with projections in 4 bits and the rest finer."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import DEFAULT_GROUP_SIZES, MatrixFormat
from pararnn_core.quantize.quantize_model import from_rows
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix

PROJECTIONS, CELLS = (MatrixFormat(bits, DEFAULT_GROUP_SIZES[bits]) for bits in (4, 8))
VERSION = 2
"""Files of version 1 have no importance; they can be read."""
IMPORTANCE = "importance."
# The two first matrices of an MLP have the same inputs.
SAME_INPUTS = {"gate_proj.weight": "up_proj.weight"}


@dataclass(frozen=True)
class StoredMixers:
    """The contents of a file. matrices and floats: by parameter name; curve: rows of the run.

    shapes: those of matrices whose parameter is no plain (outputs, inputs)
    recipe: the fields of the training's recipe; its "cell" is the mixers'
    importance: mean squares (I,) bfloat16 of the inputs of the MLPs' matrices, by name; see importance_of
    """

    recipe: Mapping[str, Any]
    tokens: int
    matrices: Mapping[str, QuantizedMatrix]
    floats: Mapping[str, Tensor]
    shapes: Mapping[str, list[int]]
    curve: list[dict[str, Any]]
    importance: Mapping[str, Tensor]

    @property
    def cell(self) -> str:
        """Name of the cell, a key of CELLS."""
        return str(self.recipe["cell"])

    def weight(self, name: str) -> Tensor:
        """Return a parameter as float32, in its own shape."""
        if name in self.floats:
            return self.floats[name]
        rows = self.matrices[name].dequantize()
        return from_rows(rows, torch.Size(self.shapes.get(name, rows.shape)))

    def importance_of(self, name: str) -> Tensor | None:
        """Return the importance (I,) float32 of a matrix's inputs; None if the file has none."""
        layer, mlp, leaf = name.partition(".mlp.")
        found = self.importance.get(f"{layer}{mlp}{SAME_INPUTS.get(leaf, leaf)}")
        return None if found is None else found.float()


def format_of(name: str) -> MatrixFormat:
    """Return the format of a matrix."""
    # In 4 bits the cells' input matrices would cause three quarters of the loss.
    return CELLS if name.endswith("cell.B") else PROJECTIONS


def read_stored_mixers(file: Path) -> StoredMixers:
    """Read a file of mixers. Raises ValueError for another version, OSError, lzma.LZMAError."""
    data = lzma.decompress(file.read_bytes())
    texts, tensors = _texts(data), load(data)
    facts = texts["facts"]
    if facts["version"] not in (1, VERSION):
        raise ValueError(f"{file}: version {facts['version']} is unknown, expected {VERSION}")
    named = [name for name in tensors if name.startswith(IMPORTANCE)]
    importance = {name.removeprefix(IMPORTANCE): tensors.pop(name) for name in named}
    names = [name.removesuffix(QWEIGHT) for name in tensors if name.endswith(QWEIGHT)]
    matrices = {name: _matrix(name, tensors) for name in names}
    floats = {name: tensor for name, tensor in tensors.items() if not name.endswith((QWEIGHT, SCALES))}
    return StoredMixers(
        facts["recipe"], facts["tokens"], matrices, floats, texts["shapes"], texts["curve"], importance
    )


def _texts(safetensors: bytes) -> dict[str, Any]:
    """Return the parsed metadata of a safetensors file, which begins with the length of its JSON header."""
    length = int.from_bytes(safetensors[:8], "little")
    metadata = json.loads(safetensors[8 : 8 + length])["__metadata__"]
    return {name: json.loads(value) for name, value in metadata.items()}


def _matrix(name: str, tensors: Mapping[str, Tensor]) -> QuantizedMatrix:
    matrix_format, qweight = format_of(name), tensors[name + QWEIGHT]
    # Every matrix of a mixer has an even number of inputs.
    inputs = qweight.shape[1] * 8 // matrix_format.bits
    return QuantizedMatrix(
        qweight, tensors[name + SCALES], matrix_format.bits, matrix_format.group_size, inputs
    )
