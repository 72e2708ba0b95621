"""Arguments of a step, checked on the host before any of them goes to the device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pararnn_core.state.state import PAD_SLOT_ID

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_INTEGERS = (torch.int32, torch.int64)


class StepArguments(NamedTuple):
    """The arguments of NativeModel.step with its defaults filled in.

    tokens: (T,); cu_seqlens: (S+1,); slots: (S,); has_initial_state: (S,); logits_indices: (M,)
    """

    tokens: Int64s
    cu_seqlens: Int32s
    slots: Int32s
    has_initial_state: Bools
    logits_indices: Int64s


def check_arguments(
    tokens: Tensor,
    cu_seqlens: Tensor,
    slots: Tensor,
    has_initial_state: Tensor | None,
    logits_indices: Tensor | None,
    vocab_size: int,
    num_slots: int,
) -> StepArguments:
    """Return the checked arguments. Raises ValueError that names the argument, worded as the native library.

    Tensors on a device are copied to the host, and the host waits for that.
    """
    # Kernels check no values, because a check on the device would make the host wait.
    ids = _array("tokens", tokens, _INTEGERS, None).astype(np.int64)
    _check_range("tokens", ids, vocab_size)
    bounds = _array("cu_seqlens", cu_seqlens, (torch.int32,), None)
    _check_bounds(bounds, len(ids))
    count = len(bounds) - 1
    places = _array("slots", slots, (torch.int32,), count)
    _check_slots(places, num_slots)
    held = (
        np.ones(count, np.bool_)
        if has_initial_state is None
        else _array("has_initial_state", has_initial_state, (torch.bool,), count)
    )
    if logits_indices is None:
        rows = bounds[1:].astype(np.int64) - 1
    else:
        rows = _array("logits_indices", logits_indices, _INTEGERS, None).astype(np.int64)
        _check_range("logits_indices", rows, len(ids))
    return StepArguments(ids, bounds, places, held, rows)


def with_hidden(
    arguments: StepArguments, hidden_indices: Tensor | None, hidden: Tensor | None, width: int
) -> StepArguments:
    """Return the arguments with the hidden rows after those of the logits. Raises ValueError for bad ones."""
    if hidden_indices is None or hidden is None:
        if hidden_indices is not hidden:
            raise ValueError("hidden: it comes with hidden_indices, and they with it")
        return arguments
    rows = _array("hidden_indices", hidden_indices, _INTEGERS, None).astype(np.int64)
    _check_range("hidden_indices", rows, len(arguments.tokens))
    if hidden.dtype != torch.float32 or tuple(hidden.shape) != (len(rows), width):
        raise ValueError(
            f"hidden: expected float32 of shape ({len(rows)}, {width}), got {tuple(hidden.shape)}"
        )
    return arguments._replace(logits_indices=np.concatenate((arguments.logits_indices, rows)))


def _array(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...], length: int | None) -> Any:
    if tensor.dtype not in dtypes:
        wanted, found = (str(dtype).removeprefix("torch.") for dtype in (dtypes[-1], tensor.dtype))
        raise ValueError(f"{name}: expected {wanted}, got a tensor that is {found}")
    if tensor.dim() != 1 or length not in (None, len(tensor)):
        expected = "*" if length is None else length
        shape = ", ".join(map(str, tensor.shape))
        raise ValueError(f"{name}: expected shape ({expected}), got ({shape})")
    return tensor.numpy(force=True)


def _check_range(name: str, values: Int64s, end: int) -> None:
    wrong = values[(values < 0) | (values >= end)]
    if len(wrong):
        raise ValueError(f"{name}: {wrong[0]} is not in [0, {end})")


def _check_bounds(bounds: Int32s, tokens: int) -> None:
    if not len(bounds):
        raise ValueError("cu_seqlens: expected at least one entry")
    if bounds[0] != 0:
        raise ValueError(f"cu_seqlens: must start at 0, got {bounds[0]}")
    lengths = np.diff(bounds)
    if (lengths < 0).any():
        entry = int(np.argmax(lengths < 0)) + 1
        raise ValueError(
            f"cu_seqlens: must not fall, but entry {entry} is {bounds[entry]} after {bounds[entry - 1]}"
        )
    if bounds[-1] != tokens:
        raise ValueError(f"cu_seqlens: must end at the number of tokens {tokens}, got {bounds[-1]}")
    if (lengths == 0).any():
        sequence = int(np.argmin(lengths))
        raise ValueError(
            f"cu_seqlens: must increase, but sequence {sequence} has no token and so no last row"
        )


def _check_slots(slots: Int32s, num_slots: int) -> None:
    used = slots[slots != PAD_SLOT_ID]
    wrong = used[(used < 0) | (used >= num_slots)]
    if len(wrong):
        raise ValueError(f"slots: {wrong[0]} is not in [0, {num_slots}) nor {PAD_SLOT_ID}")
    # Two sequences in one slot would write their states to the same place in any order.
    ordered = np.sort(used)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"slots: {twice[0]} stands twice")
