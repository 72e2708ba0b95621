"""Which way the products of a matrix go on a device: decided here and nowhere else.

Up to so many rows `ops.row_product` reads a matrix in place, each weight once. Beyond, and for what it does
not take, torch multiplies; integers are dequantised for it, a block of rows at a time.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pararnn_core import ops
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

MOST_ROWS = {16: 0, 8: ops.MOST_PRODUCT_ROWS, 4: ops.MOST_PRODUCT_ROWS}
"""By bits of a weight. From counting bytes: no GPU has been asked yet. 0: always torch."""

_BITS_OF_FLOATS = 16


class ProductKernels(Protocol):
    """What `pararnn_core.ops` has for a matrix in place on CUDA."""

    def row_product(
        self, x: Tensor, weight: QuantizedMatrix | Tensor, heads: int = 1, gates: int = 1, wide: bool = False
    ) -> Tensor:
        """As `ops.row_product`."""

    def dequantize(
        self, weight: QuantizedMatrix, rows: Tensor | slice = slice(None), wide: bool = False
    ) -> Tensor:
        """As `ops.dequantize`."""


def kernels_for(weight: QuantizedMatrix | Tensor) -> ProductKernels | None:
    """None where the matrix is not on CUDA, or is none that the kernels take."""
    held = weight if isinstance(weight, Tensor) else weight.qweight
    return ops if held.is_cuda and _are_taken(weight) else None


def most_rows(weight: QuantizedMatrix | Tensor) -> int:
    """Of x that `row_product` multiplies with this matrix; more are torch's."""
    return MOST_ROWS[_BITS_OF_FLOATS if isinstance(weight, Tensor) else weight.bits]


def _are_taken(weight: QuantizedMatrix | Tensor) -> bool:
    if isinstance(weight, QuantizedMatrix):
        return ops.takes_integers(weight.bits, weight.group_size, weight.in_features)
    return ops.takes_floats(weight)
