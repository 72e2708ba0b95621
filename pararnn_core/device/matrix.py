"""Products with matrices as a checkpoint holds them, on any device: nothing is packed or copied.

Rows enter a product and leave it in one type, the narrow one: that of float weights, and of quantised ones
bfloat16 on CUDA and float32 elsewhere. Each element of a result is added up in float32 and rounded once; but
torch may round the parts of a sum that it splits, unless a process turns off
`torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core.device.products import ProductKernels, kernels_for, most_rows
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

Weight = nn.Parameter | QuantizedMatrix

BLOCK_WEIGHTS = 1 << 24
"""Of a quantised matrix that are dequantised at a time: 32 MiB in bfloat16."""


class HoldsMatrix(Protocol):
    """A module whose one weight is a matrix (O, I)."""

    weight: Weight


def multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """out (T, O) = x (T, I) weight (I, O), or all with a first dimension H, one product for each head.

    x and weight of one type, out of that type, or (T, O) of float32; any strides between rows.
    """
    if not x.is_cuda:
        # The same numbers where torch has no product of narrow rows to wide sums.
        out.copy_(torch.matmul(x.float(), weight.float()))
    elif out.dtype != x.dtype:
        torch.mm(x, weight, out_dtype=out.dtype, out=out)
    elif x.dim() == 3:
        torch.bmm(x, weight, out=out)
    else:
        torch.mm(x, weight, out=out)


class DeviceMatrix:
    """heads blocks of (gates * O / gates, I), one below the other.

    Products of few rows read a quantised one in place where there are kernels for that (products.py). Else
    it is dequantised for each product, a block of rows at a time: that takes little memory, but reads and
    writes more than a float matrix.
    """

    def __init__(
        self, weight: Weight, heads: int = 1, gates: int = 1, kernels: ProductKernels | None = None
    ) -> None:
        """weight: (O, I); of a cell (H, I, gates, O / gates), or quantised with the rows head by head.

        kernels: None stands for what the device has for this matrix.
        """
        self._weight = weight.detach() if isinstance(weight, Tensor) else weight
        self._heads = heads
        self._gates = gates
        self._kernels = kernels or kernels_for(self._weight)

    @property
    def nbytes(self) -> int:
        """As held on the device."""
        return self._weight.nbytes

    @property
    def narrow(self) -> torch.dtype:
        """The type of a product's rows."""
        if not isinstance(self._weight, QuantizedMatrix):
            return self._weight.dtype
        on_cuda = self._kernels is not None or self._weight.qweight.is_cuda
        return torch.bfloat16 if on_cuda else torch.float32

    def rows(self, tokens: Tensor) -> Tensor:
        """tokens (T,) -> those rows (T, I) float32, the caller's own."""
        if isinstance(self._weight, QuantizedMatrix):
            return self._dequantized(self._weight, tokens, torch.float32)
        return F.embedding(tokens, self._weight).float()

    def product(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """x (T, I) narrow -> (T, O) in `dtype`: narrow if None, or float32."""
        weight = self._weight
        kernels = self._kernels_of_rows(len(x))
        if kernels is not None:
            return kernels.row_product(x, weight, wide=dtype == torch.float32)
        outputs, inputs = weight.shape
        out = x.new_empty(len(x), outputs, dtype=dtype)
        if not isinstance(weight, QuantizedMatrix):
            multiply(x, weight.T, out)
            return out
        step = max(1, BLOCK_WEIGHTS // inputs)
        for row in range(0, outputs, step):
            block = slice(row, row + step)
            multiply(x, self._dequantized(weight, block, x.dtype).T, out[:, block])
        return out

    def product_by_head(self, x: Tensor) -> Tensor:
        """x (T, H * I) narrow -> (T, gates, H * O / gates) narrow, head h from its own inputs."""
        heads, gates = self._heads, self._gates
        kernels = self._kernels_of_rows(len(x))
        if kernels is not None:
            flat = kernels.row_product(x, self._weight, heads, gates)
            return flat.view(len(x), gates, flat.shape[1] // gates)
        if isinstance(self._weight, QuantizedMatrix):
            rows = self._dequantized(self._weight, slice(None), x.dtype)
            blocks = rows.view(heads, gates, -1, rows.shape[1]).permute(0, 3, 1, 2)
        else:
            blocks = self._weight
        out = x.new_empty(len(x), gates, heads * blocks.shape[3])
        if heads == 1:
            multiply(x, blocks[0].flatten(1), out.flatten(1))
            return out
        by_head = x.view(len(x), heads, -1).transpose(0, 1)
        # Straight to where the rows belong: of one gate they are evenly apart.
        for gate in range(gates):
            multiply(by_head, blocks[:, :, gate], out[:, gate].view(len(x), heads, -1).transpose(0, 1))
        return out

    def _kernels_of_rows(self, count: int) -> ProductKernels | None:
        return self._kernels if count <= most_rows(self._weight) else None

    def _dequantized(self, weight: QuantizedMatrix, rows: Tensor | slice, dtype: torch.dtype) -> Tensor:
        if self._kernels is not None:
            return self._kernels.dequantize(weight, rows, wide=dtype == torch.float32)
        return weight.dequantize(rows).to(dtype)
