"""The choice between two kinds of product on a device, for each matrix and number of rows.

Up to MOST_ROWS rows `ops.row_product` reads a matrix in place, each weight once. For more rows, and for
matrices that it does not support, torch multiplies. Integers are then dequantised, a block of rows at a time.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pararnn_core import ops
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

MOST_ROWS = {16: 0, 8: ops.MOST_PRODUCT_ROWS, 4: ops.MOST_PRODUCT_ROWS}
"""Most rows that `row_product` multiplies, by bits of a weight; 0 is always torch. It is an estimate."""

_BITS_OF_FLOATS = 16


class ProductKernels(Protocol):
    """The kernels of `pararnn_core.ops` that read a matrix in place on CUDA."""

    def row_product(
        self, x: Tensor, weight: QuantizedMatrix | Tensor, heads: int = 1, gates: int = 1, wide: bool = False
    ) -> Tensor:
        """See `ops.row_product`."""

    def dequantize(
        self, weight: QuantizedMatrix, rows: Tensor | slice = slice(None), wide: bool = False
    ) -> Tensor:
        """See `ops.dequantize`."""


def kernels_for(weight: QuantizedMatrix | Tensor) -> ProductKernels | None:
    """Return the kernels for this matrix; None if it is not on CUDA or they do not support it."""
    held = weight if isinstance(weight, Tensor) else weight.qweight
    return ops if held.is_cuda and _are_taken(weight) else None


def most_rows(weight: QuantizedMatrix | Tensor) -> int:
    """Return the number of rows up to which `row_product` multiplies with this matrix."""
    return MOST_ROWS[_BITS_OF_FLOATS if isinstance(weight, Tensor) else weight.bits]


def _are_taken(weight: QuantizedMatrix | Tensor) -> bool:
    if isinstance(weight, QuantizedMatrix):
        return ops.takes_integers(weight.bits, weight.group_size, weight.in_features)
    return ops.takes_floats(weight)
