"""Sizes, weights and tokenizer of a transformer of the Llama family, read from a GGUF file.

V ids, d channels, m channels of the MLP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

ROWS = 4096
"""Rows of a matrix that are dequantised at a time."""


@dataclass(frozen=True)
class LlamaSizes:
    """The sizes of the model: d hidden size, H heads of d / H channels, KV key-value heads."""

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


class LlamaFile:
    """An open GGUF file. Weights are read when they are asked for: memory never holds all of them."""

    def __init__(self, file: Path) -> None:
        reader = gguf.GGUFReader(file)
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        # The reader holds each token as several arrays, 160 MB for 49,152 of them, so it is not kept.
        self._fields = {name: each.contents() for name, each in reader.fields.items()}
        self.sizes = LlamaSizes(
            vocab_size=len(self.field("tokenizer.ggml.tokens")),
            hidden_size=self.field("llama.embedding_length"),
            num_layers=self.field("llama.block_count"),
            num_heads=self.field("llama.attention.head_count"),
            num_kv_heads=self.field("llama.attention.head_count_kv"),
            intermediate_size=self.field("llama.feed_forward_length"),
            norm_eps=self.field("llama.attention.layer_norm_rms_epsilon"),
            rope_base=self.field("llama.rope.freq_base"),
        )

    @property
    def tokens(self) -> Sequence[str]:
        """The spelling of each token, by id."""
        spellings: Sequence[str] = self.field("tokenizer.ggml.tokens")
        return spellings

    def field(self, name: str) -> Any:
        """Return a value of the file's header."""
        return self._fields[name]

    def weight(self, name: str) -> Tensor:
        """Return a weight as float32: a matrix (outputs, inputs), or a vector."""
        return torch.cat(list(self.parts(name)))

    def parts(self, name: str) -> Iterator[Tensor]:
        """Yield a weight, at most ROWS rows at a time."""
        tensor = self._tensors[f"{name}.weight"]
        # GGUF writes the fastest dimension first. Its data has a row of bytes for each row of the matrix.
        *rows, columns = (int(size) for size in reversed(tensor.shape))
        data = tensor.data.reshape(*rows, -1) if rows else tensor.data
        for start in range(0, len(data), ROWS):
            values = gguf.quants.dequantize(data[start : start + ROWS], tensor.tensor_type)
            shape = (-1, columns) if rows else (-1,)
            yield torch.from_numpy(values.astype(np.float32).reshape(shape))
