"""Rounding of a matrix to integers with the same bits on every machine.

A session moves between machines only if both have the same model, to the last bit. So nothing here depends on
the order of a vectorised sum, on fused products, or on the number of threads: operations are elementwise, and
sums are loops over the inputs of a group. n inputs of a group, M groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

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


def round_portably(
    parts: Iterable[Tensor], matrix_format: MatrixFormat, importance: Tensor | None = None
) -> QuantizedMatrix:
    """Round a weight by itself, with the scale of least squared error for each group.

    parts: the weight's rows (O, I) float32, in as many pieces as one likes
    importance: (I,) float32, the cost of a squared error at each input; None: the same for all
    """
    rounded = [_round(rows, matrix_format, importance) for rows in parts]
    values, scales = (torch.cat(each) for each in zip(*rounded, strict=True))
    return QuantizedMatrix.from_values(values, scales, matrix_format.bits, matrix_format.group_size)


class Groups(NamedTuple):
    """Groups of weights that are rounded together. weight, importance: (n, M) float32."""

    weight: Tensor
    importance: Tensor | None
    bits: int

    def best_scale(self) -> Tensor:
        """Return the scale (M,) bfloat16 of least squared error for each group."""
        # The greatest and the least value do not depend on the order in which they are sought.
        high, low = self.weight.amax(dim=0), self.weight.amin(dim=0)
        largest = torch.where(high >= -low, high, low)
        best = torch.zeros_like(largest)
        least = self._cost(best)
        # A negative scale mirrors the range of the integers, which has a -8 and no 8.
        for divisor in DIVISORS[self.bits]:
            # Tensor / Tensor rounds once.
            best, least = self._better(largest / torch.full_like(largest, divisor), best, least)
        for _ in range(REFINEMENTS):
            best, least = self._better(self._least_squares(best), best, least)
        return best.to(torch.bfloat16)

    def rounded(self, scale: Tensor) -> Tensor:
        """Return the integers nearest to weight / scale as float32; 0 where the scale is 0."""
        ratio = torch.where(scale == 0, torch.zeros_like(self.weight), self.weight / scale)
        return ratio.round_().clamp_(*value_range(self.bits))

    def _better(self, scale: Tensor, best: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each group the scale and the cost of the better one."""
        # The file holds scales as bfloat16.
        narrow = scale.to(torch.bfloat16).float()
        cost = self._cost(narrow)
        better = cost < least
        return torch.where(better, narrow, best), torch.where(better, cost, least)

    def _cost(self, scale: Tensor) -> Tensor:
        error = self.rounded(scale).mul_(scale).sub_(self.weight)
        return _in_order(error * self._weighted(error))

    def _least_squares(self, scale: Tensor) -> Tensor:
        """Return the best scale for the integers that `scale` gives."""
        values = self.rounded(scale)
        weighted = self._weighted(values)
        squares = _in_order(values * weighted)
        # Where all integers are 0, no scale is better than another.
        return torch.where(squares == 0, scale, _in_order(self.weight * weighted) / squares)

    def _weighted(self, values: Tensor) -> Tensor:
        return values if self.importance is None else values * self.importance


def _round(rows: Tensor, matrix_format: MatrixFormat, importance: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return integers (O, I) int8 and scales (O, K)."""
    values, scales = list[Tensor](), list[Tensor]()
    whole = rows.shape[1] // matrix_format.group_size * matrix_format.group_size
    # The last group of a row may be shorter.
    for inputs in (slice(0, whole), slice(whole, None)):
        part = rows[:, inputs]
        if part.shape[1]:
            size = min(matrix_format.group_size, part.shape[1])
            costs = None if importance is None else importance[inputs].view(-1, size)
            pieces = _pieces(part.reshape(-1, size), costs, matrix_format.bits)
            found = map_in_threads(_round_groups, list(pieces))
            values.append(torch.cat([each for each, _ in found]).view(part.shape))
            scales.append(torch.cat([each for _, each in found]).view(len(rows), -1))
    return torch.cat(values, dim=1), torch.cat(scales, dim=1)


def _pieces(weight: Tensor, costs: Tensor | None, bits: int) -> Iterator[Groups]:
    """Yield groups of weight (M, n), GROUPS at a time. costs: (K, n) of the groups of each row."""
    for start in range(0, len(weight), GROUPS):
        some = weight[start : start + GROUPS]
        importance = None
        if costs is not None:
            importance = costs[torch.arange(start, start + len(some)) % len(costs)].T.contiguous()
        yield Groups(some.T.contiguous(), importance, bits)


def _round_groups(groups: Groups) -> tuple[Tensor, Tensor]:
    """Return integers (M, n) int8 and scales (M,)."""
    scale = groups.best_scale()
    return groups.rounded(scale.float()).T.to(torch.int8), scale


def _in_order(terms: Tensor) -> Tensor:
    """Return the sum (M,) of terms (n, M), from the first to the last."""
    total = terms[0].clone()
    for term in terms[1:]:
        total += term
    return total
