"""Quantisation of an RWKV-7: each matrix is rounded by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pararnn_core.checkpoint.checkpoint_directory import config_fields
from pararnn_core.checkpoint.checkpoint_text import TOKENIZER, CheckpointText
from pararnn_core.checkpoint.checkpoint_writer import check_replaceable, write_directory
from pararnn_core.checkpoint.rwkv7_checkpoint import QUANTIZATION, rwkv7_config
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig, format_for
from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import EMBEDDING, HEAD, parameter_shapes
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.weight_files import WeightFiles

Progress = Callable[[str, int, int], None]

_NARROW = MatrixFormat(8, 32)
"""The format of the low-rank matrices, which are few and decide what the state keeps."""


@dataclass(frozen=True)
class QuantizedRwkv7:
    """The result. weight_bytes: of all tensors; bits_per_weight: of a matrix, scales included."""

    config: Rwkv7Config
    fingerprint: str
    weight_bytes: int
    bits_per_weight: float


def quantize_rwkv7(
    source: Path, target: Path, bits: int, group_size: int | None = None, progress: Progress | None = None
) -> QuantizedRwkv7:
    """Write `target`: `source` with integers for matrices. Raises CheckpointError before anything is written.

    With 4 bits the vocabulary's matrices get 8. Memory holds all quantised matrices and one float matrix.
    """
    fields = config_fields(source)
    config = rwkv7_config(source, fields)
    if config.bits is not None:
        raise CheckpointError(source, "is quantised already: give the float checkpoint that it was made from")
    if target.resolve() == source.resolve():
        raise CheckpointError(target, "is the source itself: choose another path for the quantised one")
    check_replaceable(target.resolve())
    quantization = _formats(config, format_for(bits, group_size))
    stored: dict[str, torch.Tensor] = {}
    weights = integers = 0
    shapes = parameter_shapes(config.sizes, config.num_hidden_layers)
    with WeightFiles(source) as files:
        for done, name in enumerate(sorted(shapes)):
            if progress is not None:
                progress("quantising", done, len(shapes))
            tensor = files.read(name)
            if len(shapes[name]) == 1:
                stored[name] = tensor.float()
                continue
            matrix = round_matrix(tensor.float(), quantization.format_of(name))
            stored |= matrix.stored(name)
            weights, integers = weights + tensor.numel(), integers + matrix.nbytes
    text = CheckpointText(source)
    made = replace(config, bits=bits)
    stored = {name: stored[name].contiguous() for name in sorted(stored)}
    fingerprint = write_directory(
        target.resolve(),
        {key: value for key, value in fields.items() if key != "fingerprint"}
        | {QUANTIZATION: quantization.to_dict()},
        stored,
        card=lambda digest: (
            f"# RWKV-7, {made.num_parameters:,} parameters in {bits} bits\n\n"
            f"Rounded from {source.resolve().name}, each weight by itself.\n"
            f"Fingerprint {digest}.\n\nNo quality was measured.\n"
        ),
        tokenizer=source if text.has(TOKENIZER) else None,
    )
    size = sum(tensor.nbytes for tensor in stored.values())
    return QuantizedRwkv7(made, fingerprint, size, 8 * integers / weights)


def _formats(config: Rwkv7Config, default: MatrixFormat) -> QuantizationConfig:
    overrides: dict[str, MatrixFormat] = {}
    if default.bits == 4:
        overrides |= dict.fromkeys((EMBEDDING, HEAD), format_for(8))
        shapes = parameter_shapes(config.sizes, config.num_hidden_layers)
        overrides |= {name: _NARROW for name in shapes if ".lora." in name and name.endswith(".weight")}
    return QuantizationConfig("round", default.bits, default.group_size, tuple(sorted(overrides.items())))
