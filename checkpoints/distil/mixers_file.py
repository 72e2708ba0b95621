"""The mixers and the curve of a run in one small file, with projections in 4 bits and the rest finer."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from checkpoints.distil.recipe import Recipe
from checkpoints.distil.teacher import Importance
from pararnn_core.assemble.mixers_file import IMPORTANCE, VERSION, format_of, read_stored_mixers
from pararnn_core.models.pararnn.quantization_config import MATRICES_OF_A_LAYER
from pararnn_core.quantize.quantize_model import as_rows
from pararnn_core.quantize.quantize_round import round_matrix

MLP_MATRICES = ("up_proj.weight", "down_proj.weight")
"""The matrices that the fields of an Importance are of."""


@dataclass(frozen=True)
class Mixers:
    """The mixers of a run.

    weights: float32, by their names in the student; curve: rows of the run; importance: by layer, or empty
    """

    recipe: Recipe
    tokens: int
    weights: dict[str, Tensor]
    curve: list[dict[str, Any]]
    importance: Sequence[Importance] = ()


def write_mixers(mixers: Mixers, file: Path) -> None:
    """Replace the file in one step."""
    tensors: dict[str, Tensor] = {}
    for name, weight in mixers.weights.items():
        if name.endswith(MATRICES_OF_A_LAYER):
            tensors.update(round_matrix(as_rows(weight), format_of(name)).stored(name))
        else:
            tensors[name] = weight.float().contiguous()
    for layer, importance in enumerate(mixers.importance):
        for leaf, inputs in zip(MLP_MATRICES, importance, strict=True):
            tensors[f"{IMPORTANCE}layers.{layer}.mlp.{leaf}"] = inputs
    facts = {"version": VERSION, "recipe": asdict(mixers.recipe), "tokens": mixers.tokens}
    shapes = {name: list(weight.shape) for name, weight in mixers.weights.items() if weight.dim() == 4}
    texts = {"facts": facts, "shapes": shapes, "curve": mixers.curve}
    partial = file.with_suffix(".partial")
    data = save(tensors, {name: json.dumps(value) for name, value in texts.items()})
    # Four-bit integers do not use all their values equally: a tenth of the bytes can be saved.
    partial.write_bytes(lzma.compress(data))
    os.replace(partial, file)


def read_mixers(file: Path) -> Mixers:
    """Read a file of write_mixers. Raises ValueError for another version."""
    stored = read_stored_mixers(file)
    weights = {name: stored.weight(name) for name in (*stored.matrices, *stored.floats)}
    layers = len(stored.importance) // len(MLP_MATRICES)
    importance = [
        Importance(*(stored.importance[f"layers.{layer}.mlp.{leaf}"] for leaf in MLP_MATRICES))
        for layer in range(layers)
    ]
    return Mixers(Recipe.saved(stored.recipe), stored.tokens, weights, stored.curve, importance)
