"""The mixers and the curve of a run in one small file, with projections in 4 bits and the rest finer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from checkpoints.distil.recipe import Recipe
from pararnn_core.models.pararnn.quantization_config import (
    DEFAULT_GROUP_SIZES,
    MATRICES_OF_A_LAYER,
    MatrixFormat,
)
from pararnn_core.quantize.quantize_model import as_rows, from_rows
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix

PROJECTIONS, CELLS = (MatrixFormat(bits, DEFAULT_GROUP_SIZES[bits]) for bits in (4, 8))
VERSION = 1


@dataclass(frozen=True)
class Mixers:
    """The mixers of a run. weights: float32, by their names in the student; curve: rows of the run."""

    recipe: Recipe
    tokens: int
    weights: dict[str, Tensor]
    curve: list[dict[str, Any]]


def format_of(name: str) -> MatrixFormat:
    """Return the format of a matrix."""
    # In 4 bits the cells' input matrices would cause three quarters of the loss.
    return CELLS if name.endswith("cell.B") else PROJECTIONS


def write_mixers(mixers: Mixers, file: Path) -> None:
    """Replace the file in one step."""
    tensors: dict[str, Tensor] = {}
    for name, weight in mixers.weights.items():
        if name.endswith(MATRICES_OF_A_LAYER):
            tensors.update(round_matrix(as_rows(weight), format_of(name)).stored(name))
        else:
            tensors[name] = weight.float().contiguous()
    facts = {"version": VERSION, "recipe": asdict(mixers.recipe), "tokens": mixers.tokens}
    shapes = {name: list(weight.shape) for name, weight in mixers.weights.items() if weight.dim() == 4}
    texts = {"facts": facts, "shapes": shapes, "curve": mixers.curve}
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, {name: json.dumps(value) for name, value in texts.items()})
    os.replace(partial, file)


def read_mixers(file: Path) -> Mixers:
    """Read a file of write_mixers. Raises ValueError for another version."""
    with safe_open(file, framework="pt") as archive:
        texts = {name: json.loads(value) for name, value in archive.metadata().items()}
        tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # not a mapping
    facts = texts["facts"]
    if facts["version"] != VERSION:
        raise ValueError(f"{file}: version {facts['version']} is unknown, expected {VERSION}")
    recipe, weights = Recipe.saved(facts["recipe"]), _dequantised(tensors, texts["shapes"])
    return Mixers(recipe, facts["tokens"], weights, texts["curve"])


def _dequantised(tensors: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for stored, tensor in tensors.items():
        if stored.endswith(QWEIGHT):
            name = stored.removesuffix(QWEIGHT)
            matrix_format = format_of(name)
            # Every matrix of a mixer has an even number of inputs.
            inputs = tensor.shape[1] * 8 // matrix_format.bits
            matrix = QuantizedMatrix(
                tensor, tensors[name + SCALES], matrix_format.bits, matrix_format.group_size, inputs
            )
            rows = matrix.dequantize()
            weights[name] = from_rows(rows, torch.Size(shapes.get(name, rows.shape)))
        elif not stored.endswith(SCALES):
            weights[stored] = tensor
    return weights
