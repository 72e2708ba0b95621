"""Products with matrices in the form in which a checkpoint holds them, on any device, without packed copies.

Rows enter and leave a product in one type, called narrow. It is the type of float weights. For quantised
weights it is bfloat16 on CUDA and float32 elsewhere. Each element of a result is summed in float32 and
rounded once. But torch may round parts of a sum that it splits, unless the process turns off
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
"""Weights of a quantised matrix that are dequantised at a time: 32 MiB in bfloat16."""


class HoldsMatrix(Protocol):
    """A module whose one weight is a matrix (O, I)."""

    weight: Weight


def multiply(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write x (T, I) weight (I, O) into out (T, O). All may have a first dimension H, one product per head.

    x and weight have one type. out has the same type, or is (T, O) float32. Rows may have any stride.
    """
    if not x.is_cuda:
        # Here torch has no product of narrow rows with float32 sums. Widening gives the same numbers.
        out.copy_(torch.matmul(x.float(), weight.float()))
    elif out.dtype != x.dtype:
        torch.mm(x, weight, out_dtype=out.dtype, out=out)
    elif x.dim() == 3:
        torch.bmm(x, weight, out=out)
    else:
        torch.mm(x, weight, out=out)


class DeviceMatrix:
    """A matrix of `heads` blocks of (gates * O / gates, I), one below the other.

    Products of few rows read a quantised matrix in place if there are kernels for it (products.py). Otherwise
    it is dequantised for each product, a block of rows at a time. That takes little memory, but it reads and
    writes more bytes than a float matrix.
    """

    def __init__(
        self, weight: Weight, heads: int = 1, gates: int = 1, kernels: ProductKernels | None = None
    ) -> None:
        """weight: (O, I); a cell's is (H, I, gates, O / gates), or quantised with its rows head by head.

        kernels: None takes the device's kernels for this matrix, if it has any.
        """
        self._weight = weight.detach() if isinstance(weight, Tensor) else weight
        self._heads = heads
        self._gates = gates
        self._kernels = kernels or kernels_for(self._weight)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self._weight.nbytes

    @property
    def narrow(self) -> torch.dtype:
        """Type of the rows that enter and leave a product."""
        if not isinstance(self._weight, QuantizedMatrix):
            return self._weight.dtype
        # Tests give kernels to a CPU, which then takes the types of CUDA.
        on_cuda = self._kernels is not None or self._weight.qweight.is_cuda
        return torch.bfloat16 if on_cuda else torch.float32

    def rows(self, tokens: Tensor) -> Tensor:
        """Return a new tensor with the matrix's rows for tokens (T,): (T, I) float32."""
        if isinstance(self._weight, QuantizedMatrix):
            return self._dequantized(self._weight, tokens, torch.float32)
        return F.embedding(tokens, self._weight).float()

    def product(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the product (T, O) of x (T, I), which is narrow. dtype: float32, or None for narrow."""
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
        """Return the block-diagonal product (T, gates, H * O / gates) of x (T, H * I), both narrow."""
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
        # With one head the gates of a row are adjacent, so one product computes all of them.
        if heads == 1:
            multiply(x, blocks[0].flatten(1), out.flatten(1))
            return out
        by_head = x.view(len(x), heads, -1).transpose(0, 1)
        # Only the rows of one gate are evenly spaced in the output, so each gate is a product of its own.
        for gate in range(gates):
            multiply(by_head, blocks[:, :, gate], out[:, gate].view(len(x), heads, -1).transpose(0, 1))
        return out

    def _kernels_of_rows(self, count: int) -> ProductKernels | None:
        return self._kernels if count <= most_rows(self._weight) else None

    def _dequantized(self, weight: QuantizedMatrix, rows: Tensor | slice, dtype: torch.dtype) -> Tensor:
        if self._kernels is not None:
            return self._kernels.dequantize(weight, rows, wide=dtype == torch.float32)
        return weight.dequantize(rows).to(dtype)
