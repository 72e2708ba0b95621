"""The recurrence step by step in torch, the reference of every other solver."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pararnn_core.solvers.varlen import time_tiles

Step = Callable[[Tensor, Tensor], Tensor]
"""(h (n, N, D), bx (n, G, D)) -> h' (n, N, D); rows are independent of each other."""


def sequential_solve(step: Step, bx: Tensor, initial_state: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Return the states (T, N, D) of a packed batch. All sequences advance together.

    bx: (T, G, D); initial_state: (S, N, D); cu_seqlens: (S+1,) int32
    """
    if bx.shape[0] == 0:
        return initial_state.new_empty(0, *initial_state.shape[1:])
    steps = time_tiles(cu_seqlens, span=1)
    state = initial_state[steps.by_length]
    states = []
    for inputs, active in zip(torch.split(bx[steps.order], steps.tokens), steps.active, strict=True):
        # Sequences are sorted from the longest, so those that ended are the last rows.
        if active < state.shape[0]:
            state = state[:active]
        state = step(state, inputs)
        states.append(state)
    by_time = torch.cat(states)
    return torch.empty_like(by_time).index_copy_(0, steps.order, by_time)
