"""Conversion of an RWKV-7 as its author's trainer stores it: a state dict with blocks.0.att.r_k and the like.

The trainer is https://github.com/BlinkDL/RWKV-LM.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pararnn_core.checkpoint.checkpoint_writer import PathLike, write_directory
from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import EMBEDDING, FINAL_NORM, FIRST_NORM, HEAD, parameter_shapes
from pararnn_core.storage.untrusted_file import CheckpointError

MARK = "blocks.0.att.r_k"
WORLD_VOCAB_SIZE = 65536
"""Ids of the "World" vocabulary, in which 0 ends a text."""

_OUTSIDE = {
    "emb.weight": EMBEDDING,
    "head.weight": HEAD,
    "blocks.0.ln0.weight": FIRST_NORM[0],
    "blocks.0.ln0.bias": FIRST_NORM[1],
    "ln_out.weight": FINAL_NORM[0],
    "ln_out.bias": FINAL_NORM[1],
}
_BLOCK = re.compile(r"blocks\.(0|[1-9]\d{0,5})\.(.+)")
_IN_BLOCK = {
    **{f"ln1.{leaf}": f"attn_norm.{leaf}" for leaf in ("weight", "bias")},
    **{f"ln2.{leaf}": f"ffn_norm.{leaf}" for leaf in ("weight", "bias")},
    **{f"att.ln_x.{leaf}": f"attn.g_norm.{leaf}" for leaf in ("weight", "bias")},
    **{f"att.x_{each}": f"attn.x_{each}" for each in "rwkvag"},
    **{f"att.{each}": f"attn.{each}" for each in ("k_k", "k_a", "r_k")},
    "att.receptance.weight": "attn.r_proj.weight",
    "att.key.weight": "attn.k_proj.weight",
    "att.value.weight": "attn.v_proj.weight",
    "att.output.weight": "attn.o_proj.weight",
    **{f"att.{each}0": f"attn.{each}_lora.lora.2.bias" for each in "wav"},
    **{f"att.{each}1": f"attn.{each}_lora.lora.0.weight" for each in "wavg"},
    **{f"att.{each}2": f"attn.{each}_lora.lora.2.weight" for each in "wavg"},
    "ffn.x_k": "ffn.x_k",
    "ffn.key.weight": "ffn.key.weight",
    "ffn.value.weight": "ffn.value.weight",
}
# The first layer's value has no gate. Its tensors may be there and are ignored.
_IGNORED = frozenset({"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"})
_TRANSPOSED = re.compile(r"att\.[wavg][12]")


def is_rwkv7(names: Collection[str]) -> bool:
    """Return True for the names of an RWKV-7 as its author's trainer stores it."""
    return MARK in names


def convert_rwkv7(
    source: Path,
    tensors: Mapping[str, Tensor],
    target: PathLike,
    overrides: Mapping[str, Any],
    tokenizer: PathLike | None = None,
    chat_template: str | None = None,
) -> tuple[Rwkv7Config, str]:
    """Write the checkpoint in Hugging Face's layout; return its config and fingerprint.

    overrides: dtype, bos_token_id and eos_token_id. Raises CheckpointError that names a tensor or field.
    """
    stored = _renamed(source, tensors)
    unknown = overrides.keys() - {"dtype", "bos_token_id", "eos_token_id"}
    if unknown:
        raise CheckpointError(source, f"is an RWKV-7, which has no field {', '.join(sorted(unknown))}")
    ids = {name: overrides[name] for name in ("bos_token_id", "eos_token_id") if name in overrides}
    dtype = overrides.get("dtype", "float32" if stored[EMBEDDING].dtype == torch.float32 else "bfloat16")
    try:
        shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
        config = Rwkv7Config.of_checkpoint(ids, shapes, dtype)
    except ValueError as error:
        raise CheckpointError(source, f"makes no model: {error}") from None
    if config.vocab_size == WORLD_VOCAB_SIZE and config.eos_token_id is None:
        config = replace(config, eos_token_id=0)
    expected = parameter_shapes(config.sizes, config.num_hidden_layers)
    if expected.keys() != stored.keys():
        wrong = ", ".join(sorted(expected.keys() ^ stored.keys())[:5])
        raise CheckpointError(source, f"makes no model: missing or too many are {wrong}")
    kept = {name: stored[name].to(getattr(torch, dtype)).contiguous() for name in sorted(stored)}
    fingerprint = write_directory(
        Path(target).resolve(),
        config.hub_fields(),
        kept,
        card=lambda digest: card(config, digest),
        tokenizer=tokenizer,
        chat_template=chat_template,
    )
    return config, fingerprint


def card(config: Rwkv7Config, fingerprint: str) -> str:
    """Return a plain description for README.md."""
    return (
        f"# RWKV-7, {config.num_parameters:,} parameters\n\n"
        f"Hidden size {config.hidden_size}, {config.num_hidden_layers} layers, "
        f"vocabulary {config.vocab_size}, weights {config.weight_type}.\n"
        f"Fingerprint {fingerprint}.\n\nNo quality was measured.\n"
    )


def _renamed(source: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _IGNORED:
            continue
        block = _BLOCK.fullmatch(name)
        if name in _OUTSIDE:
            renamed[_OUTSIDE[name]] = tensor
        elif block is not None and block[2] in _IN_BLOCK:
            value = tensor.squeeze().T if _TRANSPOSED.fullmatch(block[2]) else tensor
            renamed[f"model.layers.{block[1]}.{_IN_BLOCK[block[2]]}"] = value
        else:
            raise CheckpointError(source, f"has {name}, which no RWKV-7 of this version has")
    return renamed
