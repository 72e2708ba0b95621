"""The teacher's weights and tokenizer, read from its GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from pararnn_core.assemble.llama_file import LlamaFile, LlamaSizes
from pararnn_core.assemble.llama_tokenizer import tokenizer_json


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

    sizes: LlamaSizes
    embedding: Tensor
    blocks: list[TeacherBlock]
    norm: Tensor


def read_weights(file: Path) -> TeacherWeights:
    """Read all tensors, dequantised to float32."""
    llama = LlamaFile(file)
    blocks = [_block(llama, f"blk.{layer}") for layer in range(llama.sizes.num_layers)]
    return TeacherWeights(llama.sizes, llama.weight("token_embd"), blocks, llama.weight("output_norm"))


def read_tokenizer(file: Path) -> Tokenizer:
    """Read the byte-level BPE tokenizer, whose control tokens are special."""
    return Tokenizer.from_buffer(tokenizer_json(LlamaFile(file)))


def _block(llama: LlamaFile, name: str) -> TeacherBlock:
    return TeacherBlock(
        norm=llama.weight(f"{name}.attn_norm"),
        query=llama.weight(f"{name}.attn_q"),
        key=llama.weight(f"{name}.attn_k"),
        value=llama.weight(f"{name}.attn_v"),
        output=llama.weight(f"{name}.attn_output"),
        mlp_norm=llama.weight(f"{name}.ffn_norm"),
        gate=llama.weight(f"{name}.ffn_gate"),
        up=llama.weight(f"{name}.ffn_up"),
        down=llama.weight(f"{name}.ffn_down"),
    )
