"""Linear layers on weights packed for the CPU.

An output is accumulated over its inputs in one fixed order: a row's result has the same bits in every batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pararnn_core.ops.library import native


@dataclass(frozen=True)
class PackedLinear:
    """A weight (out_features, in_features), float32 or bfloat16, as tiles of 16 outputs."""

    data: Tensor
    out_features: int
    in_features: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight: float32 or bfloat16."""
        return self.data.dtype


@dataclass(frozen=True)
class PackedBlockLinear:
    """A block-diagonal weight (H, Din/H, 3, D/H) as tiles of 16 outputs, with its bias (3, D) float32."""

    data: Tensor
    bias: Tensor
    num_heads: int
    in_features: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight: float32 or bfloat16."""
        return self.data.dtype


def pack_linear(weight: Tensor) -> PackedLinear:
    """weight: (O, I) float32 or bfloat16, contiguous."""
    return PackedLinear(native().pack_linear(weight), weight.shape[0], weight.shape[1])


def linear(x: Tensor, weight: PackedLinear) -> Tensor:
    """x: (T, I) float32. Returns (T, O) float32; bfloat16 weights are widened exactly."""
    out: Tensor = native().linear(x, weight.data, weight.out_features, weight.in_features)
    return out


def pack_block_linear(weight: Tensor, bias: Tensor) -> PackedBlockLinear:
    """weight: (H, Din/H, 3, D/H) float32 or bfloat16; bias: (3, D) float32. Both contiguous."""
    heads, inputs = weight.shape[:2]
    return PackedBlockLinear(native().pack_block_linear(weight), bias, heads, heads * inputs)


def block_linear(x: Tensor, weight: PackedBlockLinear) -> Tensor:
    """x: (T, Din) float32. Returns bx (T, 3, D) float32, the bias added last."""
    out: Tensor = native().block_linear(x, weight.data, weight.bias, weight.num_heads, weight.in_features)
    return out


def unpack(packed: PackedLinear | PackedBlockLinear) -> Tensor:
    """The weight that was packed, bit for bit."""
    if isinstance(packed, PackedLinear):
        weight: Tensor = native().unpack_linear(packed.data, packed.out_features, packed.in_features)
        return weight
    block: Tensor = native().unpack_block_linear(
        packed.data, packed.num_heads, packed.in_features, packed.bias.shape[1]
    )
    return block


def embedding(tokens: Tensor, weight: Tensor) -> Tensor:
    """Returns (T, d) float32.

    tokens: (T,) int32 or int64, each in [0, V); weight: (V, d) float32 or bfloat16, row-major
    """
    rows: Tensor = native().embedding(tokens, weight)
    return rows
