"""Assembly of a chat model: a GGUF file's embedding, norms and MLPs, and trained mixers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from pararnn_core.assemble.card import render_card
from pararnn_core.assemble.llama_file import LlamaFile, LlamaSizes
from pararnn_core.assemble.llama_tokenizer import tokenizer_json
from pararnn_core.assemble.missing_bytes import missing_bytes, stand_ins
from pararnn_core.assemble.mixers_file import StoredMixers, read_stored_mixers
from pararnn_core.assemble.portable_rounding import round_portably
from pararnn_core.checkpoint.checkpoint_text import TOKENIZER, TOKENIZER_CONFIG
from pararnn_core.checkpoint.checkpoint_writer import write_checkpoint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import EMBEDDING, FINAL_NORM
from pararnn_core.models.pararnn.quantization_config import (
    MatrixFormat,
    QuantizationConfig,
    format_for,
    is_matrix,
)
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

Progress = Callable[[int, int], None]

WEIGHT_TYPES = ("int4", "int8", "bfloat16")
BOS_TOKEN_ID = 1
EOS_TOKEN_ID = 2
END_OF_TEXT_ID = 0
OUTSIDE = {EMBEDDING: "token_embd", FINAL_NORM: "output_norm"}
"""Parameter -> name in the GGUF file."""
OF_A_LAYER = {
    "norm.weight": "attn_norm",
    "mlp_norm.weight": "ffn_norm",
    "mlp.gate_proj.weight": "ffn_gate",
    "mlp.up_proj.weight": "ffn_up",
    "mlp.down_proj.weight": "ffn_down",
}
"""Parameter of a layer -> name in the GGUF file, after blk.N."""
# Temperature and top_p are those of the authors of SmolLM2-135M-Instruct. With the penalty few replies repeat
# themselves and more of them end, on the held-out prompts of checkpoints/distil; with 1.2 few of them end.
GENERATION = {
    "eos_token_id": [EOS_TOKEN_ID, END_OF_TEXT_ID],
    "temperature": 0.2,
    "top_p": 0.9,
    "repetition_penalty": 1.1,
}
CHAT_TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")


def joined_config(sizes: LlamaSizes, cell: str) -> ModelConfig:
    """Return a config with the transformer's sizes and one recurrent head for each attention head."""
    return ModelConfig(
        cell=cell,
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_layers,
        num_heads=sizes.num_heads,
        intermediate_size=sizes.intermediate_size,
        tie_embeddings=True,
        norm_eps=sizes.norm_eps,
        # An attention has no activation after its values, and its output's size varies between tokens.
        conv_activation="none",
        gate_order="norm_then_gate",
        residual_scale="none",
        bos_token_id=BOS_TOKEN_ID,
        eos_token_id=EOS_TOKEN_ID,
    )


def assemble(
    source: Path,
    mixers: Path,
    target: Path,
    weight_type: str = "int4",
    figures: Mapping[str, Any] | None = None,
    further: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> str:
    """Write the checkpoint directory `target` in one step and return its fingerprint.

    source: GGUF file; mixers: file of mixers; weight_type: one of WEIGHT_TYPES
    figures: of the card; further: bytes of other files of the directory; progress: progress(done, in all)
    The same files give the same fingerprint on every machine.
    """
    llama, stored = LlamaFile(source), read_stored_mixers(mixers)
    missing = missing_bytes(llama.tokens)
    vocab_size = llama.sizes.vocab_size + len(missing)
    config = replace(joined_config(llama.sizes, stored.cell), vocab_size=vocab_size)
    if weight_type == "bfloat16":
        config = replace(config, dtype=weight_type)
    else:
        config = replace(config, quantization=_quantization(config, stored, int(weight_type[-1])))
    tensors = _joined(llama, stored, config, progress)
    with TemporaryDirectory() as folder:
        (Path(folder) / TOKENIZER).write_bytes(tokenizer_json(llama, missing))
        # Without the first field a plain text would begin with the start of a chat's turn.
        fields = {"add_bos_token": False, "clean_up_tokenization_spaces": False}
        (Path(folder) / TOKENIZER_CONFIG).write_text(json.dumps(fields))
        return write_checkpoint(
            config,
            tensors,
            target,
            tokenizer=Path(folder),
            chat_template=CHAT_TEMPLATE_FILE.read_text(),
            card=render_card(target.name, config, stored.tokens, figures or {}),
            generation=GENERATION,
            further=further,
        )


def _quantization(config: ModelConfig, stored: StoredMixers, bits: int) -> QuantizationConfig:
    """Return formats in which the mixers keep their integers and scales exactly as they are stored."""
    default = format_for(bits)
    usual = QuantizationConfig.usual("round", default, config.tie_embeddings)
    kept = {name: _kept_format(matrix, bits) for name, matrix in stored.matrices.items()}
    others = {name: each for name, each in kept.items() if each != default}
    return replace(usual, overrides=tuple(sorted({**dict(usual.overrides), **others}.items())))


def _kept_format(matrix: QuantizedMatrix, bits: int) -> MatrixFormat:
    # 8 bits hold the integers of 4 bits, with the same scales.
    return MatrixFormat(max(bits, matrix.bits), matrix.group_size)


def _joined(
    llama: LlamaFile, stored: StoredMixers, config: ModelConfig, progress: Progress | None
) -> dict[str, Tensor]:
    """Return all tensors by their names in a checkpoint."""
    tensors: dict[str, Tensor] = {}
    done = 0
    for name, weight in _weights(llama, stored, config):
        if isinstance(weight, QuantizedMatrix):
            tensors.update(weight.stored(name))
        else:
            tensors[name] = weight
        done += math.prod(weight.shape)
        if progress is not None:
            progress(done, config.num_parameters)
    return tensors


def _weights(
    llama: LlamaFile, stored: StoredMixers, config: ModelConfig
) -> Iterator[tuple[str, Tensor | QuantizedMatrix]]:
    """Yield each parameter by name."""
    for name, source in _frozen_names(config):
        yield name, _frozen(llama, name, source, config, stored.importance_of(name))
    for name in (*stored.matrices, *stored.floats):
        yield name, _mixer(stored, name, config)


def _frozen_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield each parameter that the GGUF file has, with its name there."""
    yield from OUTSIDE.items()
    for i in range(config.num_hidden_layers):
        yield from ((f"layers.{i}.{name}", f"blk.{i}.{source}") for name, source in OF_A_LAYER.items())


def _frozen(
    llama: LlamaFile, name: str, source: str, config: ModelConfig, importance: Tensor | None
) -> Tensor | QuantizedMatrix:
    quantization = config.quantization
    parts = _embedding(llama) if name == EMBEDDING else llama.parts(source)
    if quantization is None:
        # Converted part by part: the embedding in float32 would take 113 MB.
        return torch.cat([part.to(getattr(torch, config.dtype)) for part in parts])
    if not is_matrix(name, config.num_hidden_layers, config.tie_embeddings):
        return llama.weight(source)
    return round_portably(parts, quantization.format_of(name), importance)


def _embedding(llama: LlamaFile) -> Iterator[Tensor]:
    """Yield the rows of the embedding, at last those of the bytes that the file has no token for."""
    wanted, start, found = stand_ins(llama.tokens), 0, dict[int, Tensor]()
    for part in llama.parts(OUTSIDE[EMBEDDING]):
        found |= {token: part[token - start] for token in wanted if start <= token < start + len(part)}
        start += len(part)
        yield part
    if wanted:
        yield torch.stack([found[token] for token in wanted])


def _mixer(stored: StoredMixers, name: str, config: ModelConfig) -> Tensor | QuantizedMatrix:
    if config.quantization is None or name in stored.floats:
        return stored.weight(name)
    matrix, wanted = stored.matrices[name], config.quantization.format_of(name)
    if matrix.bits == wanted.bits:
        return matrix
    return QuantizedMatrix.from_values(matrix.values(), matrix.scales, wanted.bits, wanted.group_size)
