"""Jacobians of a recurrence step by forward-mode differentiation (dual numbers)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp, vmap

from pararnn_core.solvers.sequential import Step


def linearize_per_channel(step: Step, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
    """Return step(h, bx) (n, N, D) and its Jacobian with respect to h (n, N, N, D); channels must not mix.

    h: (n, N, D); bx: (n, G, D)
    """
    values, columns = [], []
    # A tangent that is 1 in all channels at once gives one column of every channel's block.
    for tangent in torch.eye(h.shape[1], dtype=h.dtype, device=h.device):
        value, column = jvp(
            lambda state: step(state, bx), (h,), (tangent[:, None].expand_as(h).contiguous(),)
        )[:2]
        values.append(value)
        columns.append(column)
    return values[0], torch.stack(columns, dim=2)


def linearize_dense(step: Step, h: Tensor, bx: Tensor) -> tuple[Tensor, Tensor]:
    """Return step(h, bx) (n, N, D) and its Jacobian with respect to h (n, N*D, N*D); channels may mix.

    h: (n, N, D); bx: (n, G, D)
    """
    size = h[0].numel()
    tangents = torch.eye(size, dtype=h.dtype, device=h.device).view(size, *h.shape[1:])

    def column(tangent: Tensor) -> Tensor:
        pushed: Tensor = jvp(lambda state: step(state, bx), (h,), (tangent.expand_as(h),))[1]
        return pushed

    columns: Tensor = vmap(column)(tangents)
    return step(h, bx), columns.flatten(2).permute(1, 2, 0)
