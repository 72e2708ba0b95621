"""Checks of a cell's arguments. Every error is a ValueError that starts with the argument's name."""

from __future__ import annotations

import torch
from torch import Tensor

from pararnn_core.solvers.varlen import check_cu_seqlens


def check_sizes(input_dim: int, state_dim: int, num_heads: int) -> None:
    """Raise ValueError unless all sizes are positive and num_heads divides both dimensions."""
    for name, size in (("input_dim", input_dim), ("state_dim", state_dim), ("num_heads", num_heads)):
        if size < 1:
            raise ValueError(f"{name}: must be at least 1, got {size}")
    for name, size in (("input_dim", input_dim), ("state_dim", state_dim)):
        if size % num_heads:
            raise ValueError(f"num_heads: must divide {name}, but {num_heads} does not divide {size}")


def check_x(x: Tensor, input_dim: int, dtype: torch.dtype, cu_seqlens: Tensor | None) -> None:
    """Raise ValueError unless x is (B, T, input_dim) or packed (T, input_dim), of dtype or narrower."""
    if x.dim() not in (2, 3) or x.shape[-1] != input_dim:
        raise ValueError(f"x: expected (B, T, {input_dim}) or packed (T, {input_dim}), got {tuple(x.shape)}")
    if x.dim() == 3 and cu_seqlens is not None:
        raise ValueError("cu_seqlens: needs packed x (T, input_dim), but x has a batch; leave it out")
    if x.dtype != dtype and not (dtype == torch.float32 and x.dtype in (torch.bfloat16, torch.float16)):
        raise ValueError(f"x: this cell computes in {dtype}, got {x.dtype}; convert x or the cell")


def full_initial_state(initial_state: Tensor | None, like: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return initial_state in `shape` (S, N, D): zeros for None. A state (S, D) is accepted where N is 1.

    like: a tensor with the dtype and device of the zeros
    """
    if initial_state is None:
        return like.new_zeros(shape)
    if shape[1] == 1 and initial_state.dim() == 2:
        return initial_state.unsqueeze(1)
    return initial_state


def check_recurrence(
    bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor, sizes: tuple[int, int, int], dtype: torch.dtype
) -> None:
    """Raise ValueError unless bx is (T, G, D), initial_state (S, N, D) and cu_seqlens (S+1,) int32.

    sizes: (G, N, D); dtype: that of bx and initial_state
    """
    gates, states, channels = sizes
    _check_tensor("bx", bx, (bx.shape[0] if bx.dim() else 0, gates, channels), dtype, bx.device)
    if cu_seqlens.device != bx.device:
        raise ValueError(f"cu_seqlens: expected device {bx.device}, got {cu_seqlens.device}")
    check_cu_seqlens(cu_seqlens, bx.shape[0])
    shape = (cu_seqlens.numel() - 1, states, channels)
    _check_tensor("initial_state", initial_state, shape, dtype, bx.device)


def _check_tensor(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: expected dtype {dtype}, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected device {device}, got {tensor.device}")
