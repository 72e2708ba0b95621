"""Conversion of weights that were trained elsewhere to a checkpoint, or to cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pararnn_core.cells import cell_like
from pararnn_core.checkpoint.checkpoint import CheckpointError, write_checkpoint
from pararnn_core.checkpoint.checkpoint_text import GENERATION_CONFIG, TOKENIZER, CheckpointText
from pararnn_core.convert.convert_cells import ConvertedCells, load_cell, prefixes_of, write_cells
from pararnn_core.convert.convert_keys import FORK_KEYS, STATED_CONFIG, KeyMap
from pararnn_core.convert.convert_pararnn_torch import MAX_RECURRENT_NORM, with_our_cells
from pararnn_core.convert.convert_rwkv7 import convert_rwkv7, is_rwkv7
from pararnn_core.convert.convert_source import read_source
from pararnn_core.models.pararnn.config import MODEL_TYPE, ModelConfig
from pararnn_core.models.pararnn.layer_tensors import letters_in
from pararnn_core.models.rwkv7.config import Rwkv7Config

__all__ = ["Conversion", "ConvertedCells", "convert_checkpoint", "load_cell"]

PathLike = str | os.PathLike[str]

_FORK_MARK = "blocks.0.rnn_cell.A"
_SHOW_CHOICES = ("layers.0.cell.A", "layers.0.cell.C", "layers.0.residual_scale")
_SHOW_SIZES = ("embedding.weight", "layers.0.cell.B", "layers.0.conv.weight", "layers.0.mlp.gate_proj.weight")


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion. notes: sentences about things that the checkpoint still lacks."""

    config: ModelConfig | Rwkv7Config
    fingerprint: str
    notes: tuple[str, ...]

    @property
    def num_parameters(self) -> int:
        """Exact number of the model's parameters."""
        return self.config.num_parameters


def convert_checkpoint(
    src: PathLike,
    dst: PathLike,
    key_map: PathLike | None = None,
    allow_pickle: bool = False,
    overrides: Mapping[str, Any] | None = None,
    tokenizer: PathLike | None = None,
    chat_template: str | None = None,
) -> Conversion | ConvertedCells:
    """Convert `src` into the checkpoint directory `dst`. Raises CheckpointError and then writes nothing.

    src: a safetensors file, a directory with such files, or a pickled state dict
    key_map: a JSON file as KeyMap describes it; None expects the state dict of a known trainer, which is that
        of the public fork or of RWKV-7
    allow_pickle: permits a pickled state dict, which is read with weights_only
    overrides: fields of ModelConfig, which replace stated ones and those that the shapes show
    tokenizer: as write_checkpoint takes it; None takes the directory `src` if it holds a tokenizer.json
    Cells of pararnn-torch become cells of this package, clamped to recurrent_clip or 0.5. A key map names
    their tensors A, B, b and C. A source of cells alone becomes a directory for load_cell.
    """
    source = Path(src)
    keys = FORK_KEYS if key_map is None else _read_key_map(Path(key_map), overrides or {})
    stated = {**keys.config, **(overrides or {})}
    limit = stated.get("recurrent_clip", MAX_RECURRENT_NORM)
    found = read_source(source, allow_pickle, keys.ignore)
    text = CheckpointText(source)
    if tokenizer is None and source.is_dir() and text.has(TOKENIZER):
        tokenizer = source
    if key_map is None and is_rwkv7(found):
        rwkv7, digest = convert_rwkv7(source, found, dst, overrides or {}, tokenizer, chat_template)
        return Conversion(rwkv7, digest, _notes(rwkv7, Path(dst), tokenizer))
    tensors = with_our_cells(source, found, limit)
    if key_map is None and prefixes_of(tensors):
        return write_cells(source, tensors, Path(dst))
    if key_map is None and _FORK_MARK not in tensors:
        first = ", ".join(sorted(tensors)[:5])
        raise CheckpointError(source, f"has names that are not known here ({first}, ...): give a key map")
    weights = _renamed(source, tensors, keys)
    config = _config(source, weights, stated)
    if config.tie_embeddings:
        weights.pop("lm_head.weight", None)
    fingerprint = write_checkpoint(
        config,
        weights,
        dst,
        tokenizer=tokenizer,
        chat_template=chat_template,
        generation=_generation(source, tokenizer),
    )
    return Conversion(config, fingerprint, _notes(config, Path(dst), tokenizer))


def _generation(source: Path, tokenizer: PathLike | None) -> dict[str, Any]:
    """Return the generation defaults in the tokenizer's directory, else those in the source's."""
    for folder in (tokenizer, source):
        if (
            folder is not None
            and Path(folder).is_dir()
            and CheckpointText(Path(folder)).has(GENERATION_CONFIG)
        ):
            return CheckpointText(Path(folder)).fields(GENERATION_CONFIG)
    return {}


def _read_key_map(path: Path, overrides: Mapping[str, Any]) -> KeyMap:
    keys = KeyMap.read(path)
    unstated = [name for name in STATED_CONFIG if name not in keys.config and name not in overrides]
    if unstated:
        raise CheckpointError(
            path,
            f"config must state {', '.join(unstated)}: the weights do not show it, and a guess may be wrong",
        )
    return keys


def _renamed(source: Path, tensors: Mapping[str, torch.Tensor], keys: KeyMap) -> dict[str, torch.Tensor]:
    left_over = keys.left_over(tensors.keys())
    if left_over:
        raise CheckpointError(
            source, f"{len(left_over)} weights have no place in the key map: {', '.join(left_over[:5])}"
        )
    found = keys.resolve(tensors.keys())
    integers = [theirs for theirs in found.values() if not tensors[theirs].is_floating_point()]
    if integers:
        raise CheckpointError(source, f"holds integers or complex numbers in {', '.join(integers[:5])}")
    return {ours: _fitted(ours, tensors[theirs]) for ours, theirs in found.items()}


def _fitted(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in this package's shape."""
    # A depthwise convolution's weight is (D, 1, K) in torch, (D, K) here. A scale may be a scalar.
    if name.endswith(".conv.weight") and tensor.dim() == 3 and tensor.shape[1] == 1:
        return tensor.squeeze(1)
    return tensor.reshape(1) if name.endswith(".residual_scale") and tensor.dim() == 0 else tensor


def _config(source: Path, weights: Mapping[str, torch.Tensor], stated: Mapping[str, Any]) -> ModelConfig:
    """Make the config from the weights' shapes and the stated fields. Raises CheckpointError."""
    missing = [name for name in _SHOW_SIZES if name not in weights]
    if missing:
        raise CheckpointError(source, f"nothing is mapped to {', '.join(missing)}: add them to the map")
    try:
        sizes = _sizes(weights)
        config = ModelConfig.from_dict({"model_type": MODEL_TYPE, **sizes, **stated})
    except (TypeError, ValueError) as error:
        raise CheckpointError(source, f"makes no model: {error}") from None
    if config.tie_embeddings and not sizes["tie_embeddings"]:
        raise CheckpointError(source, "tie_embeddings is stated, but the head differs from the embedding")
    # A size that follows from the rule is left out, as in a preset's config.
    by_rule = replace(config, intermediate_size=None)
    return by_rule if by_rule.mlp_hidden_size == config.mlp_hidden_size else config


def _sizes(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    embedding, head = weights["embedding.weight"], weights.get("lm_head.weight")
    shown = (name for name in (*_SHOW_SIZES, *_SHOW_CHOICES) if name in weights)
    sizes = letters_in({name: tuple(weights[name].shape) for name in shown})
    return {
        "cell": cell_like(sizes["G"], sizes["R"], sizes["P"]),
        "vocab_size": sizes["V"],
        "hidden_size": sizes["d"],
        "num_hidden_layers": len({name.split(".")[1] for name in weights if name.startswith("layers.")}),
        "num_heads": sizes["H"],
        "conv_kernel": sizes["K"],
        "residual_scale": "scalar" if sizes["S"] else "none",
        "intermediate_size": sizes["m"],
        "tie_embeddings": head is None or torch.equal(head, embedding),
        # One float32 tensor among bfloat16 ones would lose digits in a bfloat16 checkpoint.
        "dtype": "bfloat16" if all(t.dtype == torch.bfloat16 for t in weights.values()) else "float32",
    }


def _notes(config: ModelConfig | Rwkv7Config, dst: Path, tokenizer: PathLike | None) -> tuple[str, ...]:
    notes = []
    if tokenizer is None:
        notes.append(f"Serving {dst} needs the model's tokenizer.json: convert again and give its path.")
    if config.eos_token_id is None:
        notes.append("No eos_token_id was given: replies end at their length limit or at a stop string.")
    return tuple(notes)
