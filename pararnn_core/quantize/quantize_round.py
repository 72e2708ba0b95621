"""Rounding of a matrix to integers, with the scale of least error for each group.

O outputs, I inputs, G inputs in a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.torch_threads import map_in_threads
from pararnn_core.weights.quantized_matrix import QuantizedMatrix, expand_scales, group_slices, value_range

# Divisors of a group's largest weight that the search for a scale tries: first, last, and their number.
_DIVISORS = {8: (126.0, 132.0, 7), 4: (5.0, 9.0, 17)}
_REFINEMENTS = 2
# Rows that a thread rounds at a time. It is fixed, so that bits do not depend on the number of threads.
ROWS = 1024


def round_matrix(
    weight: Tensor, matrix_format: MatrixFormat, importance: Tensor | None = None
) -> QuantizedMatrix:
    """Round a weight (O, I) float. importance: (I,), cost of a squared error; None: the same for all."""
    scales = group_scales(weight, matrix_format, importance)
    each = expand_scales(scales, matrix_format.group_size, weight.shape[1])
    return QuantizedMatrix.from_values(
        rounded(weight.float(), each, matrix_format.bits),
        scales,
        matrix_format.bits,
        matrix_format.group_size,
    )


def group_scales(weight: Tensor, matrix_format: MatrixFormat, importance: Tensor | None = None) -> Tensor:
    """Return the best scale of each group of each row, (O, K) bfloat16. See `round_matrix`."""

    def scales_of(rows: Tensor) -> Tensor:
        return torch.stack(
            [
                best_scale(
                    rows[:, inputs], matrix_format.bits, None if importance is None else importance[inputs]
                )
                for inputs in group_slices(weight.shape[1], matrix_format.group_size)
            ],
            dim=1,
        )

    return torch.cat(map_in_threads(scales_of, torch.split(weight.float(), ROWS)))


def best_scale(weight: Tensor, bits: int, importance: Tensor | None = None) -> Tensor:
    """Return the scale (O,) bfloat16 of least weighted squared error for one group. weight: (O, n)."""
    # A negative scale mirrors the range of the integers. That helps with 4 bits, which have a -8 and no 8.
    largest = weight.gather(1, weight.abs().argmax(dim=1, keepdim=True))
    low, high, count = _DIVISORS[bits]
    best = torch.zeros(weight.shape[0], 1, dtype=torch.bfloat16)
    least = _cost(weight, best.float(), bits, importance)
    for divisor in torch.linspace(low, high, count).tolist():
        for sign in (1, -1) if bits == 4 else (1,):
            scale = largest / (sign * divisor)
            for step in range(_REFINEMENTS + 1):
                if step:
                    scale = _least_squares(weight, scale, bits, importance)
                narrow = scale.to(torch.bfloat16)
                cost = _cost(weight, narrow.float(), bits, importance)
                better = cost < least
                best, least = torch.where(better, narrow, best), torch.where(better, cost, least)
    return best.squeeze(1)


def rounded(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return the integers nearest to weight / scale as float32; 0 where the scale is 0."""
    return torch.nan_to_num(weight / scale, nan=0.0).round().clamp(*value_range(bits))


def _cost(weight: Tensor, scale: Tensor, bits: int, importance: Tensor | None) -> Tensor:
    error = (rounded(weight, scale, bits) * scale - weight).square()
    return (error if importance is None else error * importance).sum(dim=1, keepdim=True)


def _least_squares(weight: Tensor, scale: Tensor, bits: int, importance: Tensor | None) -> Tensor:
    """Return the best scale for the integers that `scale` gives."""
    values = rounded(weight, scale, bits)
    weighted = values if importance is None else values * importance
    return torch.nan_to_num(
        (weight * weighted).sum(dim=1, keepdim=True) / (values * weighted).sum(dim=1, keepdim=True), nan=0.0
    )
