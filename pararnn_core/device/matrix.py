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

    A quantised one is dequantised for each product, to bfloat16 on CUDA and to float32 elsewhere: it takes
    little memory, but reads and writes more than a float one.
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
        return multiply(x, self._dense().T)

    def product_by_head(self, x: Tensor) -> Tensor:
        """x (T, H * I) float32 -> (H, T, O) float32, block h of its own inputs."""
        blocks = self._dense()
        if isinstance(self._weight, QuantizedMatrix):
            blocks = blocks.view(self._heads, -1, blocks.shape[1]).transpose(1, 2)
        else:
            blocks = blocks.flatten(2)
        return multiply(x.view(len(x), self._heads, -1).transpose(0, 1), blocks)

    def _dense(self) -> Tensor:
        if not isinstance(self._weight, QuantizedMatrix):
            return self._weight
        whole = self._weight.dequantize()
        return whole.to(torch.bfloat16) if whole.is_cuda else whole
