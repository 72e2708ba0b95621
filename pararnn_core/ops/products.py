"""Products with weights in the form of a checkpoint, on CUDA only.

T rows; a matrix has H x gates blocks, each with O outputs and I inputs. A plain matrix is one block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.ops.library import native
from pararnn_core.ops.linear import INTEGER_FORMATS, WeightFormat
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

MOST_PRODUCT_ROWS = 64
"""Most rows of x in one product."""
_INPUT_STEP = 32
_INT4_GROUP_STEP = 32


def takes_integers(bits: int, group_size: int, inputs: int) -> bool:
    """Return True if `row_product` and `dequantize` support such a matrix.

    Its inputs must be a multiple of 32, and so must groups of 4-bit weights.
    """
    return inputs % _INPUT_STEP == 0 and (bits == 8 or group_size % _INT4_GROUP_STEP == 0)


def takes_floats(weight: Tensor) -> bool:
    """Return True if `row_product` supports this matrix: (O, I) bfloat16, I a multiple of 32."""
    return weight.dtype == torch.bfloat16 and weight.dim() == 2 and weight.shape[1] % _INPUT_STEP == 0


def row_product(
    x: Tensor, weight: QuantizedMatrix | Tensor, heads: int = 1, gates: int = 1, wide: bool = False
) -> Tensor:
    """Return the product (T, gates * H * O) of x with a weight that is read in place.

    x: (T, H * I) bfloat16, T <= MOST_PRODUCT_ROWS; the result is bfloat16, or float32 if `wide`
    weight: (H * gates * O, I), integers or bfloat16, its rows head by head; each head has inputs of its own
    Sums are float32, and a row has the same bits in every batch. Raises RuntimeError that names the argument.
    """
    if isinstance(weight, Tensor):
        rows, scales, number, group_size = weight, None, WeightFormat.BFLOAT16, 0
    else:
        rows, scales, number = weight.qweight, weight.scales, INTEGER_FORMATS[weight.bits]
        group_size = weight.group_size
    outputs, inputs = weight.shape[0] // (heads * gates), weight.shape[1]
    out: Tensor = native().row_product(
        x, rows, scales, number, heads, gates, inputs, outputs, group_size, wide
    )
    return out


def dequantize(weight: QuantizedMatrix, rows: Tensor | slice = slice(None), wide: bool = False) -> Tensor:
    """Return the weight (O, I), or some of its rows: bfloat16, rounded once, or exact float32 if `wide`.

    rows: a slice, or (T,) int64 in [0, O) on the device; I must be a multiple of 32
    Raises RuntimeError that names the argument.
    """
    integers, scales = weight.qweight, weight.scales
    # A slice is a view without a copy; other rows are gathered by the kernel.
    if isinstance(rows, slice):
        integers, scales, chosen = integers[rows], scales[rows], None
    else:
        chosen = rows
    number = INTEGER_FORMATS[weight.bits]
    out: Tensor = native().dequantize(
        integers, scales, chosen, number, weight.in_features, weight.group_size, wide
    )
    return out
