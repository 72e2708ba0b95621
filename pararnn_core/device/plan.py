"""Where everything of a step is read and written, worked out on the host once and used by all layers.

T tokens of S sequences, M rows of logits. Nothing here depends on the model's weights,
and nothing on the device has to look at a value to know what to do: so a step never waits for the device.

A skipped sequence has no place to write to. Where rows go to slots it stands for the first sequence that is
not skipped: the same values go to the same place twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pararnn_core.device.arguments import Bools, Int32s, Int64s, StepArguments
from pararnn_core.state.state import PAD_SLOT_ID


class StepPlan(NamedTuple):
    """A step's arguments and indices as arrays.

    tokens: (T,)
    homes: (S,), slots that states go to
    kept: (U,), rows of tokens that something reads once the last recurrence is done
    logits_rows: (M,), last_rows: (S,), rows of those
    seen_bytes: (T,), places in all bitmaps one after the other; seen_bits: (T,), what to set there
    cu_seqlens: (S+1,); slots: (S,), as given; has_initial_state: (S,), of the sequences that stand in homes
    """

    tokens: Int64s
    homes: Int64s
    kept: Int64s
    logits_rows: Int64s
    last_rows: Int64s
    seen_bytes: Int64s
    cu_seqlens: Int32s
    slots: Int32s
    seen_bits: npt.NDArray[np.uint8]
    has_initial_state: Bools

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(np.diff(self.cu_seqlens).max())

    def on(self, device: torch.device) -> StepInputs:
        """All of it, in one transfer."""
        buffer = self.pack(pin=device.type == "cuda")
        return self.inputs(buffer.to(device, non_blocking=True))

    def pack(self, pin: bool = False) -> Tensor:
        """(nbytes,) uint8: the arrays end to end, those of wider numbers first, so that all are aligned."""
        buffer = torch.empty(sum(array.nbytes for array in self), dtype=torch.uint8, pin_memory=pin)
        np.concatenate([array.reshape(-1).view(np.uint8) for array in self], out=buffer.numpy())
        return buffer

    def inputs(self, buffer: Tensor) -> StepInputs:
        """Tensors of these shapes that share the memory of what `pack` gave, wherever it is now."""
        views, start = [], 0
        for array in self:
            end = start + array.nbytes
            views.append(buffer[start:end].view(_DTYPES[array.dtype.name]).view(array.shape))
            start = end
        return StepInputs(*views)


class StepInputs(NamedTuple):
    """The arrays of a StepPlan as tensors on the device."""

    tokens: Tensor
    homes: Tensor
    kept: Tensor
    logits_rows: Tensor
    last_rows: Tensor
    seen_bytes: Tensor
    cu_seqlens: Tensor
    slots: Tensor
    seen_bits: Tensor
    has_initial_state: Tensor


_DTYPES = {"int64": torch.int64, "int32": torch.int32, "uint8": torch.uint8, "bool": torch.bool}


def plan_step(arguments: StepArguments, bitmap_bytes: int) -> StepPlan | None:
    """None if there is no sequence that is not skipped. bitmap_bytes: of one slot."""
    tokens, bounds, slots, held, logits_indices = arguments
    real = slots != PAD_SLOT_ID
    if not real.any():
        return None
    stands_for = np.where(real, np.arange(len(slots)), np.argmax(real))
    ends = bounds[1:].astype(np.int64)
    kept, places = np.unique(np.concatenate((logits_indices, ends - 1)), return_inverse=True)
    seen_bytes, seen_bits = _seen(arguments, real, bitmap_bytes)
    return StepPlan(
        tokens=tokens,
        homes=slots[stands_for].astype(np.int64),
        kept=kept,
        logits_rows=places[: len(logits_indices)],
        last_rows=places[len(logits_indices) :][stands_for],
        seen_bytes=seen_bytes,
        cu_seqlens=bounds,
        slots=slots,
        seen_bits=seen_bits,
        has_initial_state=held[stands_for],
    )


def _seen(arguments: StepArguments, real: Bools, bitmap_bytes: int) -> tuple[Int64s, npt.NDArray[np.uint8]]:
    """Tokens that share a byte all set the bits of all; those of skipped sequences do what the first does."""
    owner = np.repeat(np.arange(len(real)), np.diff(arguments.cu_seqlens))
    fed = real[owner]
    tokens = arguments.tokens
    places = arguments.slots[owner].astype(np.int64) * bitmap_bytes + tokens // 8
    found, inverse = np.unique(places[fed], return_inverse=True)
    bits = np.zeros(len(found), np.uint8)
    np.bitwise_or.at(bits, inverse, (1 << (tokens[fed] % 8)).astype(np.uint8))
    first = int(np.argmax(fed))
    index = np.zeros(len(tokens), np.int64)
    index[fed] = inverse
    index[~fed] = index[first]
    return found[index], bits[index]
