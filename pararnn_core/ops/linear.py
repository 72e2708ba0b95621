"""Products with weights packed for the CPU: float32, bfloat16, int8 and int4.

An output is accumulated over its inputs in one fixed order: a row's result has the same bits in every batch.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.ops.library import native
from pararnn_core.weights.quantized_matrix import QuantizedMatrix, shapes_of

_HUGE_PAGE = 2 << 20


class WeightFormat(IntEnum):
    """Formats of the weights in a packed matrix. Native code has the same numbers."""

    FLOAT32 = 0
    BFLOAT16 = 1
    INT8 = 2
    INT4 = 3


_FLOATS = {torch.float32: WeightFormat.FLOAT32, torch.bfloat16: WeightFormat.BFLOAT16}
_DTYPES = {number: dtype for dtype, number in _FLOATS.items()}
INTEGER_FORMATS = {8: WeightFormat.INT8, 4: WeightFormat.INT4}
_BITS = {number: bits for bits, number in INTEGER_FORMATS.items()}


class PackedMatrix(NamedTuple):
    """A packed matrix of heads x gates blocks, each (outputs, inputs). A plain matrix is one block.

    data: (nbytes,) uint8, the blocks end to end, heads outermost. So two plain matrices with adjacent data
    are also one matrix of two gates.
    group_size: 0 for floats
    """

    data: Tensor
    format: WeightFormat
    heads: int
    gates: int
    inputs: int
    outputs: int
    group_size: int

    @property
    def key(self) -> tuple[int, int, int, int, int, int]:
        """Arguments that native operations take beside the data."""
        return self.format, self.heads, self.gates, self.inputs, self.outputs, self.group_size


def pack(
    weight: Tensor | QuantizedMatrix, heads: int = 1, gates: int = 1, out: Tensor | None = None
) -> PackedMatrix:
    """Pack a matrix for this machine.

    weight: (O, I) or (H, I, gates, O), float32 or bfloat16; or integers (H * gates * O, I)
    out: (packed_nbytes,) uint8 aligned to 64 bytes; None allocates it
    """
    matrix = _description(weight, heads, gates)
    data = torch.empty(packed_nbytes(weight, heads, gates), dtype=torch.uint8) if out is None else out
    plain, scales = (weight, None) if isinstance(weight, Tensor) else (weight.qweight, weight.scales)
    native().pack_matrix(plain, scales, *matrix.key, data)
    return matrix._replace(data=data)


def packed_nbytes(weight: Tensor | QuantizedMatrix, heads: int = 1, gates: int = 1) -> int:
    """Return the bytes of `weight` after packing, a multiple of 64."""
    size: int = native().packed_bytes(*_description(weight, heads, gates).key)
    return size


def unpack(matrix: PackedMatrix) -> Tensor | QuantizedMatrix:
    """Return the weight before packing, bit for bit: (O, I), or (H, I, gates, O), or integers."""
    rows = matrix.heads * matrix.gates * matrix.outputs
    if matrix.format in _DTYPES:
        plain = (rows, matrix.inputs)
        blocks = (matrix.heads, matrix.inputs, matrix.gates, matrix.outputs)
        one = matrix.heads == matrix.gates == 1
        weight = torch.empty(plain if one else blocks, dtype=_DTYPES[matrix.format])
        native().unpack_matrix(matrix.data, *matrix.key, weight, None)
        return weight
    bits = _BITS[matrix.format]
    qshape, sshape = shapes_of(rows, matrix.inputs, bits, matrix.group_size)
    qweight = torch.empty(qshape, dtype=torch.int8 if bits == 8 else torch.uint8)
    scales = torch.empty(sshape, dtype=torch.bfloat16)
    native().unpack_matrix(matrix.data, *matrix.key, qweight, scales)
    return QuantizedMatrix(qweight, scales, bits, matrix.group_size, matrix.inputs)


def linear(x: Tensor, weight: PackedMatrix, bias: Tensor | None = None) -> Tensor:
    """Return the product (T, gates * heads * outputs) float32 of x with a packed weight.

    x: (T, heads * inputs) float32; bias: (gates, heads * outputs) float32, added last
    bfloat16 weights are widened exactly. With integer weights activations are quantised too, as in
    `QuantizedMatrix.reference_linear`.
    """
    out: Tensor = native().linear(x, weight.data, bias, *weight.key)
    return out


def embedding(tokens: Tensor, weight: PackedMatrix) -> Tensor:
    """Return the rows (T, d) float32 of a weight (V, d). tokens: (T,) int32 or int64, each in [0, V)."""
    format_, _, _, inputs, outputs, group_size = weight.key
    rows: Tensor = native().embedding(tokens, weight.data, format_, inputs, outputs, group_size)
    return rows


def huge_page_arena(nbytes: int) -> Tensor:
    """Return (nbytes,) uint8, uninitialised, aligned to 2 MiB; the system is advised to use huge pages."""
    # Torch does not align to huge pages, so one more page leaves room for an aligned start.
    room = torch.empty(math.ceil(nbytes / _HUGE_PAGE) * _HUGE_PAGE + _HUGE_PAGE, dtype=torch.uint8)
    start = -room.data_ptr() % _HUGE_PAGE
    # The system takes this advice for whole huge pages only.
    native().advise_huge_pages(room[start : start + math.ceil(nbytes / _HUGE_PAGE) * _HUGE_PAGE])
    return room[start : start + nbytes]


def _description(weight: Tensor | QuantizedMatrix, heads: int, gates: int) -> PackedMatrix:
    nothing = torch.empty(0, dtype=torch.uint8)
    if isinstance(weight, QuantizedMatrix):
        outputs = weight.out_features // (heads * gates)
        number = INTEGER_FORMATS[weight.bits]
        return PackedMatrix(nothing, number, heads, gates, weight.in_features, outputs, weight.group_size)
    if weight.dtype not in _FLOATS:
        raise RuntimeError(f"weight: expected dtype float32 or bfloat16, got {weight.dtype}")
    if weight.dim() == 4:
        heads, inputs, gates, outputs = weight.shape
    elif weight.dim() == 2:
        outputs, inputs = weight.shape
    else:
        raise RuntimeError(f"weight: expected shape (O, I) or (H, I, gates, O), got {tuple(weight.shape)}")
    return PackedMatrix(nothing, _FLOATS[weight.dtype], heads, gates, inputs, outputs, 0)
