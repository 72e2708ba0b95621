"""Products with matrices as a checkpoint holds them, on any device: nothing is packed or copied.

Rows enter a product in the type of the weights and leave it, and are added up, in float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core.quantized_matrix import QuantizedMatrix

Weight = nn.Parameter | QuantizedMatrix

BLOCK_WEIGHTS = 1 << 24
"""Of a quantised matrix that are dequantised at a time: 64 MiB in float32."""


class HoldsMatrix(Protocol):
    """A module whose one weight is a matrix (O, I)."""

    weight: Weight


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """x (T, I) float32, weight (I, O) float32 or bfloat16; or (H, T, I) and (H, I, O). -> float32."""
    if weight.dtype == torch.float32:
        return torch.matmul(x, weight)
    narrow = x.to(weight.dtype)
    if x.is_cuda:
        if x.dim() == 3:
            return torch.bmm(narrow, weight, out_dtype=torch.float32)
        return torch.mm(narrow, weight, out_dtype=torch.float32)
    # The same numbers where torch has no product of narrow rows to wide sums.
    return torch.matmul(narrow.float(), weight.float())


class DeviceMatrix:
    """heads blocks of (O, I), one below the other.

    A quantised one is dequantised for each product, a block of rows at a time, to bfloat16 on CUDA and to
    float32 elsewhere: it takes little memory, but reads and writes more than a float one.
    """

    def __init__(self, weight: Weight, heads: int = 1) -> None:
        """weight: (O, I); of a cell (H, I, gates, O / gates), or quantised with the rows head by head."""
        self._weight = weight.detach() if isinstance(weight, Tensor) else weight
        self._heads = heads

    @property
    def nbytes(self) -> int:
        """As held on the device."""
        return self._weight.nbytes

    def rows(self, tokens: Tensor) -> Tensor:
        """tokens (T,) -> those rows (T, I) float32."""
        if isinstance(self._weight, QuantizedMatrix):
            return self._weight.dequantize(tokens)
        return F.embedding(tokens, self._weight).float()

    def product(self, x: Tensor) -> Tensor:
        """x (T, I) float32 -> (T, O) float32."""
        weight = self._weight
        if not isinstance(weight, QuantizedMatrix):
            return multiply(x, weight.T)
        outputs, inputs = weight.shape
        step = max(1, BLOCK_WEIGHTS // inputs)
        blocks = (_dequantized(weight, slice(row, row + step)) for row in range(0, outputs, step))
        return torch.cat([multiply(x, block.T) for block in blocks], dim=1)

    def product_by_head(self, x: Tensor) -> Tensor:
        """x (T, H * I) float32 -> (H, T, O) float32, block h of its own inputs."""
        if isinstance(self._weight, QuantizedMatrix):
            rows = _dequantized(self._weight, slice(None))
            blocks = rows.view(self._heads, -1, rows.shape[1]).transpose(1, 2)
        else:
            blocks = self._weight.flatten(2)
        return multiply(x.view(len(x), self._heads, -1).transpose(0, 1), blocks)


def _dequantized(matrix: QuantizedMatrix, rows: slice) -> Tensor:
    wide = matrix.dequantize(rows)
    return wide.to(torch.bfloat16) if wide.is_cuda else wide
