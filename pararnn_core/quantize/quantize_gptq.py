"""Rounding of a matrix so that the errors of its columns compensate for one another on given inputs.

The method is GPTQ (arXiv 2210.17323). O outputs, I inputs, G inputs in a group, K groups = ceil(I / G).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.quantize_round import ROWS, group_scales, rounded
from pararnn_core.quantize.torch_threads import map_in_threads
from pararnn_core.weights.quantized_matrix import QuantizedMatrix, expand_scales

# Share of the diagonal's mean that is added to the diagonal. A larger one relies less on the calibration.
DAMPING = 0.01
# Columns whose errors are applied to all later columns in one product.
_BLOCK = 128


def compensate_matrix(weight: Tensor, hessian: Tensor, matrix_format: MatrixFormat) -> QuantizedMatrix:
    """Round a matrix so that the squared error of its outputs is nearly minimal on the calibration inputs.

    weight: (O, I) float, its rows in H equal parts, one for each head
    hessian: (H, I, I) float64, the sum of x x^T over the inputs x of each head; its scale does not matter
    Raises ValueError for a hessian with NaN or infinity, or of another size.
    """
    heads, inputs = hessian.shape[0], weight.shape[1]
    if tuple(hessian.shape[1:]) != (inputs, inputs) or weight.shape[0] % heads:
        raise ValueError(f"hessian: no {tuple(hessian.shape)} fits a weight of {tuple(weight.shape)}")
    if not bool(torch.isfinite(hessian).all()):
        raise ValueError("hessian: holds NaN or infinity; the calibration inputs must be finite")
    parts = [
        _compensate(rows, head, matrix_format)
        for rows, head in zip(weight.float().chunk(heads), hessian, strict=True)
    ]
    values, scales = (torch.cat(part) for part in zip(*parts, strict=True))
    return QuantizedMatrix.from_values(values, scales, matrix_format.bits, matrix_format.group_size)


def _compensate(weight: Tensor, hessian: Tensor, matrix_format: MatrixFormat) -> tuple[Tensor, Tensor]:
    """Return the integers (O, I) and scales (O, K) of one head. weight: (O, I); hessian: (I, I)."""
    damped = _damped(hessian)
    importance = damped.diagonal() / damped.diagonal().max()
    scales = group_scales(weight, matrix_format, importance.float())
    # The most important column is rounded first, because all later ones can compensate for its error.
    order = torch.argsort(importance, descending=True, stable=True)
    # Groups follow the original order, so scales are found before the columns are sorted.
    each = expand_scales(scales, matrix_format.group_size, weight.shape[1])[:, order]
    factor = _inverse_factor(damped[order][:, order])
    values = map_in_threads(
        lambda rows: _round_in_turn(weight[rows][:, order], each[rows], factor, matrix_format.bits),
        [slice(start, start + ROWS) for start in range(0, len(weight), ROWS)],
    )
    return torch.cat(values)[:, torch.argsort(order)], scales


def _round_in_turn(weight: Tensor, scales: Tensor, factor: Tensor, bits: int) -> Tensor:
    """Round column by column, and subtract each column's error, weighted by `factor`, from the later ones."""
    weight, values = weight.clone(), torch.empty_like(weight)
    for start in range(0, weight.shape[1], _BLOCK):
        end = min(start + _BLOCK, weight.shape[1])
        errors = torch.empty(weight.shape[0], end - start)
        for k in range(start, end):
            values[:, k] = rounded(weight[:, k], scales[:, k], bits)
            error = (weight[:, k] - values[:, k] * scales[:, k]) / factor[k, k]
            weight[:, k:end].addr_(error, factor[k, k:end], alpha=-1)
            errors[:, k - start] = error
        weight[:, end:].addmm_(errors, factor[start:end, end:], alpha=-1)
    return values


def _damped(hessian: Tensor) -> Tensor:
    """Return a hessian (I, I) that has an inverse, also for inputs that are few, alike, or all zero."""
    mean = hessian.diagonal().mean()
    return hessian + torch.eye(len(hessian), dtype=hessian.dtype) * torch.where(mean > 0, DAMPING * mean, 1)


def _inverse_factor(hessian: Tensor) -> Tensor:
    """Return the upper triangular U (I, I) float32 with U^T U = hessian^-1."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True).float()
    return factor
