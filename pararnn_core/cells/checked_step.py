"""A step of a user's cell with checks of its result. Every error names recurrence_step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_RAISED_BY_OPERATIONS = (RuntimeError, IndexError, TypeError, ValueError)


def checked_step(step: Callable[[Tensor, Tensor], Any], name: str, h: Tensor, bx: Tensor) -> Tensor:
    """Return step(h, bx), the next state. Raises TypeError or ValueError if the result is no state.

    The step receives copies, because it may change them in place and solvers read a state again.
    """
    try:
        value = step(h.clone(), bx.clone())
    except _RAISED_BY_OPERATIONS as error:
        # Both are RuntimeErrors, but not about the shapes of h and bx.
        if isinstance(error, (NotImplementedError, torch.OutOfMemoryError)):
            raise
        gates = f"; bx has num_gates = {bx.shape[-2]} rows" if isinstance(error, IndexError) else ""
        raise RuntimeError(
            f"{name}.recurrence_step failed for h {tuple(h.shape)} and bx {tuple(bx.shape)}: {error}{gates}"
        ) from error
    wanted = f"one tensor, the next h, of shape {tuple(h.shape)} and {h.dtype}"
    if not isinstance(value, Tensor):
        forgotten = "; is the return statement missing?" if value is None else ""
        raise TypeError(f"{name}.recurrence_step must return {wanted}, not {type(value).__name__}{forgotten}")
    if value.shape != h.shape or value.dtype != h.dtype:
        raise ValueError(
            f"{name}.recurrence_step must return {wanted}, not {tuple(value.shape)} and {value.dtype}"
        )
    return value
