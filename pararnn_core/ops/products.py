"""Products with weights as a checkpoint holds them, on CUDA only.

T rows; H heads, gates and O outputs of a block, I its inputs: a plain matrix is one block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.ops.library import native
from pararnn_core.ops.linear import INTEGER_FORMATS, WeightFormat
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

MOST_PRODUCT_ROWS = 64
"""Rows of x that one product takes."""
_INPUT_STEP = 32
_INT4_GROUP_STEP = 32


def takes_integers(bits: int, group_size: int, inputs: int) -> bool:
    """Whether `row_product` and `dequantize` take such a matrix: I and 4-bit groups are multiples of 32."""
    return inputs % _INPUT_STEP == 0 and (bits == 8 or group_size % _INT4_GROUP_STEP == 0)


def takes_floats(weight: Tensor) -> bool:
    """Whether `row_product` takes such a matrix: (O, I) bfloat16, I a multiple of 32."""
    return weight.dtype == torch.bfloat16 and weight.dim() == 2 and weight.shape[1] % _INPUT_STEP == 0


def row_product(
    x: Tensor, weight: QuantizedMatrix | Tensor, heads: int = 1, gates: int = 1, wide: bool = False
) -> Tensor:
    """x: (T, H * I) bfloat16, T <= MOST_PRODUCT_ROWS -> (T, gates * H * O) bfloat16, or float32 if `wide`.

    weight: (H * gates * O, I), rows head by head; head h sees its own inputs. Integers, or bfloat16 as one
    tensor, in place as they are; sums are float32, and a row has the same bits in every batch.
    Raises RuntimeError that names the bad argument.
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
    """(O, I), or some rows: bfloat16, each rounded once, or exact float32 if `wide`.

    rows: a slice, or (T,) int64 in [0, O) on the device. I must be a multiple of 32.
    Raises RuntimeError that names the bad argument.
    """
    integers, scales = weight.qweight, weight.scales
    if isinstance(rows, slice):
        integers, scales, chosen = integers[rows], scales[rows], None
    else:
        chosen = rows
    number = INTEGER_FORMATS[weight.bits]
    out: Tensor = native().dequantize(
        integers, scales, chosen, number, weight.in_features, weight.group_size, wide
    )
    return out
