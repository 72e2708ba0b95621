"""Affine recurrences over packed sequences in logarithmic depth and linear work.

A state is (N, D). Its Jacobian is one N x N matrix per channel, (N, N, D) with N = 1 for a diagonal one,
or one matrix over the whole flattened state, (N*D, N*D); the number of dimensions tells which.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pararnn_core.solvers.varlen import Tile

Scan = Callable[[Tensor, Tensor, Tile], Tensor]
"""(jacobian, source, tile) -> states, like scan_tile or reverse_scan_tile."""


def scan_tile(jacobian: Tensor, source: Tensor, tile: Tile) -> Tensor:
    """Return affine_scan over the sequences of a tile."""
    return affine_scan(jacobian, source, tile.starts)


def reverse_scan_tile(jacobian: Tensor, source: Tensor, tile: Tile) -> Tensor:
    """Return reverse_affine_scan over the sequences of a tile."""
    return reverse_affine_scan(jacobian, source, tile.starts)


def apply_jacobian(jacobian: Tensor, vector: Tensor) -> Tensor:
    """Return J v. jacobian: (n, N, N, D) or (n, N*D, N*D); vector, result: (n, N, D)."""
    if jacobian.dim() == 4:
        return (jacobian * vector.unsqueeze(1)).sum(2)
    return (jacobian @ vector.flatten(1).unsqueeze(2)).view_as(vector)


def compose(later: Tensor, earlier: Tensor) -> Tensor:
    """Return the product `later` `earlier`. Both and the result are Jacobians of one structure."""
    if later.dim() == 4:
        return (later.unsqueeze(3) * earlier.unsqueeze(1)).sum(2)
    return later @ earlier


def transpose(jacobian: Tensor) -> Tensor:
    """Return J^T of each matrix."""
    return jacobian.transpose(1, 2)


def affine_scan(jacobian: Tensor, source: Tensor, starts: Tensor) -> Tensor:
    """Solve h_t = J_t h_{t-1} + source_t, with h_t = source_t at starts.

    jacobian: (n, N, N, D) or (n, N*D, N*D); source, result: (n, N, D)
    starts: (n,) bool, of which the first is ignored. Nothing crosses a start, not even NaN.
    """
    length = source.shape[0]
    if length <= 1:
        return source
    paired = length // 2 * 2
    odd_starts, even_starts = starts[1::2], starts[0:paired:2]
    odd_jacobian, odd_source = jacobian[1::2], source[1::2]
    pairs = _advance(odd_jacobian, source[0:paired:2], odd_source, odd_starts)
    odd = affine_scan(compose(odd_jacobian, jacobian[0:paired:2]), pairs, odd_starts | even_starts)
    result = torch.empty_like(source)
    result[0] = source[0]
    result[1::2] = odd
    result[2::2] = _advance(jacobian[2::2], odd[: (length - 1) // 2], source[2::2], starts[2::2])
    return result


def reverse_affine_scan(jacobian: Tensor, source: Tensor, starts: Tensor) -> Tensor:
    """Solve l_t = source_t + J_{t+1}^T l_{t+1}, with l_t = source_t where t+1 is a start or the end.

    jacobian: (n, N, N, D) or (n, N*D, N*D); source, result: (n, N, D); starts: (n,) bool
    """
    backwards = transpose(jacobian).roll(-1, 0).flip(0)
    return affine_scan(backwards, source.flip(0), starts.roll(-1, 0).flip(0)).flip(0)


def _advance(jacobian: Tensor, state: Tensor, source: Tensor, starts: Tensor) -> Tensor:
    # A product with zero would carry a NaN of one sequence into the next.
    return torch.where(starts[:, None, None], source, apply_jacobian(jacobian, state) + source)
