"""The plan of a step: all indices that its layers need, computed once on the host.

T tokens of S sequences, M rows of logits. The plan holds every decision that depends on values. So no layer
has to read a value back from the device, and a step never waits for it.

A skipped sequence has no slot to write to. Wherever rows go to slots, it repeats the first sequence that is
not skipped: the same values are written to the same place twice. So shapes do not depend on skipped ones.
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
    homes: (S,), slots that states are written to
    kept: (U,), rows of tokens that are needed after the last recurrence
    logits_rows: (M,), last_rows: (S,), indices into kept
    seen_bytes: (T,), indices into all slots' bitmaps laid end to end; seen_bits: (T,), bits to set there
    cu_seqlens: (S+1,); slots: (S,), as given; has_initial_state: (S,), that of the sequence in homes
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
        """Copy the plan to the device in one transfer."""
        buffer = self.pack(pin=device.type == "cuda")
        return self.inputs(buffer.to(device, non_blocking=True))

    def pack(self, pin: bool = False) -> Tensor:
        """Return the arrays end to end, (nbytes,) uint8. Wider types come first, so that all are aligned."""
        # Only a copy from pinned memory lets the host continue at once.
        buffer = torch.empty(sum(array.nbytes for array in self), dtype=torch.uint8, pin_memory=pin)
        np.concatenate([array.reshape(-1).view(np.uint8) for array in self], out=buffer.numpy())
        return buffer

    def inputs(self, buffer: Tensor) -> StepInputs:
        """Return the arrays as tensors that share the memory of `buffer`, a copy of the result of `pack`."""
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
    """Return the plan of a step; None if all sequences are skipped. bitmap_bytes: of one slot's `seen`."""
    tokens, bounds, slots, held, logits_indices = arguments
    real = slots != PAD_SLOT_ID
    if not real.any():
        return None
    stands_for = np.where(real, np.arange(len(slots)), np.argmax(real))
    ends = bounds[1:].astype(np.int64)
    # States need the last row of every sequence, even if its logits are not read.
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
    """Return seen_bytes and seen_bits of a plan.

    Tokens in the same byte each set all of their bits, because the device writes whole bytes in any order.
    Tokens of skipped sequences repeat the first one that is fed.
    """
    owner = np.repeat(np.arange(len(real)), np.diff(arguments.cu_seqlens))
    fed = real[owner]
    tokens = arguments.tokens
    places = arguments.slots[owner].astype(np.int64) * bitmap_bytes + tokens // 8
    found, inverse = np.unique(places[fed], return_inverse=True)
    bits = np.zeros(len(found), np.uint8)
    # Plain indexing would keep the bit of only one token where several share a byte.
    np.bitwise_or.at(bits, inverse, (1 << (tokens[fed] % 8)).astype(np.uint8))
    first = int(np.argmax(fed))
    index = np.zeros(len(tokens), np.int64)
    index[fed] = inverse
    index[~fed] = index[first]
    return found[index], bits[index]
