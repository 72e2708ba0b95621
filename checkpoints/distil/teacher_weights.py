"""The teacher's weights, sizes and tokenizer, read from its GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

CONTROL_TOKEN = 3


@dataclass(frozen=True)
class TeacherSizes:
    """The teacher's sizes: d hidden size, H heads of d / H channels, KV key-value heads."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    norm_eps: float
    rope_base: float

    @property
    def head_size(self) -> int:
        """Channels of a head."""
        return self.hidden_size // self.num_heads


@dataclass
class TeacherBlock:
    """The weights of a layer: matrices (outputs, inputs), norms (d,)."""

    norm: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    mlp_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


@dataclass
class TeacherWeights:
    """The weights, all float32. embedding: (V, d), also the head; norm: (d,), before the head."""

    sizes: TeacherSizes
    embedding: Tensor
    blocks: list[TeacherBlock]
    norm: Tensor


def read_weights(file: Path) -> TeacherWeights:
    """Read all tensors, dequantised to float32."""
    reader = gguf.GGUFReader(file)
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str) -> Tensor:
        tensor = tensors[f"{name}.weight"]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        shape = tuple(int(size) for size in reversed(tensor.shape))
        return torch.from_numpy(values.reshape(shape).copy())

    sizes = _sizes(reader)
    blocks = [_block(weight, f"blk.{layer}") for layer in range(sizes.num_layers)]
    return TeacherWeights(sizes, weight("token_embd"), blocks, weight("output_norm"))


def read_tokenizer(file: Path) -> Tokenizer:
    """Read the byte-level BPE tokenizer, whose control tokens are special."""
    reader = gguf.GGUFReader(file)
    tokens = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = _field(reader, "tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def _field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


def _sizes(reader: Any) -> TeacherSizes:
    return TeacherSizes(
        vocab_size=len(_field(reader, "tokenizer.ggml.tokens")),
        hidden_size=_field(reader, "llama.embedding_length"),
        num_layers=_field(reader, "llama.block_count"),
        num_heads=_field(reader, "llama.attention.head_count"),
        num_kv_heads=_field(reader, "llama.attention.head_count_kv"),
        intermediate_size=_field(reader, "llama.feed_forward_length"),
        norm_eps=_field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_base=_field(reader, "llama.rope.freq_base"),
    )


def _block(weight: Callable[[str], Tensor], name: str) -> TeacherBlock:
    return TeacherBlock(
        norm=weight(f"{name}.attn_norm"),
        query=weight(f"{name}.attn_q"),
        key=weight(f"{name}.attn_k"),
        value=weight(f"{name}.attn_v"),
        output=weight(f"{name}.attn_output"),
        mlp_norm=weight(f"{name}.ffn_norm"),
        gate=weight(f"{name}.ffn_gate"),
        up=weight(f"{name}.ffn_up"),
        down=weight(f"{name}.ffn_down"),
    )
