"""One packed batch of `forward`, checked: prefill chunks and decodes laid end to end."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.state import PAD_SLOT_ID


class Batch(NamedTuple):
    """T tokens of S sequences; sequence s owns rows bounds[s] to bounds[s+1] and the slot slot_ids[s]."""

    tokens: Tensor
    cu_seqlens: Tensor
    slots: Tensor
    has_initial_state: Tensor
    token_ids: list[int]
    bounds: list[int]
    slot_ids: list[int]

    @property
    def is_decode(self) -> bool:
        """Whether every sequence has one token."""
        return len(self.token_ids) == len(self.slot_ids)


def check_batch(
    tokens: Tensor,
    cu_seqlens: Tensor,
    slots: Tensor,
    has_initial_state: Tensor | None,
    *,
    vocab_size: int,
    num_slots: int,
) -> Batch:
    """tokens (T,) int32 or int64; cu_seqlens (S+1,) int32; slots (S,) int32; has_initial_state (S,) bool.

    has_initial_state None stands for all True. Raises ValueError naming the argument.
    """
    _check_vector("tokens", tokens, (torch.int64, torch.int32))
    _check_vector("cu_seqlens", cu_seqlens, (torch.int32,))
    _check_vector("slots", slots, (torch.int32,))
    token_ids, bounds, slot_ids = tokens.tolist(), cu_seqlens.tolist(), slots.tolist()
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < vocab_size):
        wrong = next(token for token in token_ids if not 0 <= token < vocab_size)
        raise ValueError(f"tokens must be in [0, {vocab_size}), got {wrong}")
    _check_bounds(bounds, len(token_ids), len(slot_ids))
    _check_slots(slot_ids, num_slots)
    if has_initial_state is None:
        has_initial_state = torch.ones(len(slot_ids), dtype=torch.bool)
    _check_vector("has_initial_state", has_initial_state, (torch.bool,))
    if len(has_initial_state) != len(slot_ids):
        raise ValueError(f"has_initial_state must have {len(slot_ids)} entries, got {len(has_initial_state)}")
    return Batch(
        tokens.contiguous(),
        cu_seqlens.contiguous(),
        slots.contiguous(),
        has_initial_state.contiguous(),
        token_ids,
        bounds,
        slot_ids,
    )


def check_rows(logits_indices: Tensor, num_rows: int) -> None:
    """logits_indices (M,) int32 or int64, each in [0, num_rows); ValueError otherwise."""
    _check_vector("logits_indices", logits_indices, (torch.int64, torch.int32))
    if any(not 0 <= row < num_rows for row in logits_indices.tolist()):
        raise ValueError(f"logits_indices must be in [0, {num_rows}), the rows of tokens")


def _check_vector(name: str, value: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if value.dim() != 1 or value.dtype not in dtypes or value.device.type != "cpu":
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"{name} must be one-dimensional {wanted} on cpu, "
            f"got {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
        )


def _check_bounds(bounds: list[int], num_tokens: int, num_sequences: int) -> None:
    if len(bounds) != num_sequences + 1:
        raise ValueError(
            f"cu_seqlens must have one entry more than slots, got {len(bounds)} and {num_sequences}"
        )
    if bounds[0] != 0 or bounds[-1] != num_tokens:
        raise ValueError(f"cu_seqlens must run from 0 to {num_tokens}, got {bounds[0]} to {bounds[-1]}")
    if any(end <= start for start, end in pairwise(bounds)):
        raise ValueError("cu_seqlens must increase: a sequence without tokens has no last row")


def _check_slots(slot_ids: list[int], num_slots: int) -> None:
    used = [slot for slot in slot_ids if slot != PAD_SLOT_ID]
    if used and not (min(used) >= 0 and max(used) < num_slots):
        wrong = next(slot for slot in used if not 0 <= slot < num_slots)
        raise ValueError(f"slots must be -1 or in [0, {num_slots}), got {wrong}")
    if len(set(used)) != len(used):
        twice = next(slot for slot in used if used.count(slot) > 1)
        raise ValueError(f"slots must not repeat, got {twice} twice")
