"""Rounding of a matrix to integers with the same bits on every machine.

A session moves between machines only if both have the same model, to the last bit. So nothing here depends on
the order of a vectorised sum, on fused products, or on the number of threads: operations are elementwise, and
sums are loops over the inputs of a group. n inputs of a group, M groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.torch_threads import map_in_threads
from pararnn_core.weights.quantized_matrix import QuantizedMatrix, value_range

# Divisors of a group's largest weight that the search for a scale tries. All are exact in binary.
DIVISORS = {
    4: tuple(sign * (5 + step / 4) for step in range(17) for sign in (1, -1)),
    8: tuple(float(divisor) for divisor in range(126, 133)),
}
REFINEMENTS = 2
GROUPS = 8192
"""Groups that are rounded at a time, so that they stay in the processor's cache."""


def round_portably(parts: Iterable[Tensor], matrix_format: MatrixFormat) -> QuantizedMatrix:
    """Round a weight by itself, with the scale of least squared error for each group.

    parts: the weight's rows (O, I) float32, in as many pieces as one likes
    """
    rounded = [_round(rows, matrix_format) for rows in parts]
    values, scales = (torch.cat(each) for each in zip(*rounded, strict=True))
    return QuantizedMatrix.from_values(values, scales, matrix_format.bits, matrix_format.group_size)


def best_scale(weight: Tensor, bits: int) -> Tensor:
    """Return the scale (M,) bfloat16 of least squared error for each group. weight: (n, M) float32."""
    # The greatest and the least value do not depend on the order in which they are sought.
    high, low = weight.amax(dim=0), weight.amin(dim=0)
    largest = torch.where(high >= -low, high, low)
    best = torch.zeros_like(largest)
    least = _cost(weight, best, bits)
    # A negative scale mirrors the range of the integers, which has a -8 and no 8.
    for divisor in DIVISORS[bits]:
        # Tensor / Tensor rounds once.
        best, least = _better(weight, largest / torch.full_like(largest, divisor), best, least, bits)
    for _ in range(REFINEMENTS):
        best, least = _better(weight, _least_squares(weight, best, bits), best, least, bits)
    return best.to(torch.bfloat16)


def rounded(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return the integers nearest to weight / scale as float32; 0 where the scale is 0."""
    ratio = torch.where(scale == 0, torch.zeros_like(weight), weight / scale)
    return ratio.round_().clamp_(*value_range(bits))


def _round(rows: Tensor, matrix_format: MatrixFormat) -> tuple[Tensor, Tensor]:
    """Return integers (O, I) int8 and scales (O, K)."""
    values, scales = list[Tensor](), list[Tensor]()
    whole = rows.shape[1] // matrix_format.group_size * matrix_format.group_size
    # The last group of a row may be shorter.
    for inputs in (rows[:, :whole], rows[:, whole:]):
        if inputs.shape[1]:
            size = min(matrix_format.group_size, inputs.shape[1])
            pieces = torch.split(inputs.reshape(-1, size), GROUPS)
            found = map_in_threads(partial(_round_groups, bits=matrix_format.bits), pieces)
            values.append(torch.cat([each for each, _ in found]).view(inputs.shape))
            scales.append(torch.cat([each for _, each in found]).view(len(rows), -1))
    return torch.cat(values, dim=1), torch.cat(scales, dim=1)


def _round_groups(groups: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return integers (M, n) int8 and scales (M,) of groups (M, n)."""
    weight = groups.T.contiguous()
    scale = best_scale(weight, bits)
    return rounded(weight, scale.float(), bits).T.to(torch.int8), scale


def _better(weight: Tensor, scale: Tensor, best: Tensor, least: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return for each group the scale and the cost of the better one. The file holds scales as bfloat16."""
    narrow = scale.to(torch.bfloat16).float()
    cost = _cost(weight, narrow, bits)
    better = cost < least
    return torch.where(better, narrow, best), torch.where(better, cost, least)


def _cost(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    error = rounded(weight, scale, bits).mul_(scale).sub_(weight)
    return _in_order(error * error)


def _least_squares(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return the best scale for the integers that `scale` gives."""
    values = rounded(weight, scale, bits)
    squares = _in_order(values * values)
    # Where all integers are 0, no scale is better than another.
    return torch.where(squares == 0, scale, _in_order(weight * values) / squares)


def _in_order(terms: Tensor) -> Tensor:
    """Return the sum (M,) of terms (n, M), from the first to the last."""
    total = terms[0].clone()
    for term in terms[1:]:
        total += term
    return total
