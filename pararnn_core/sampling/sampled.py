"""Input of the sampler beside logits, and its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from pararnn_core.sampling.mask_words import MaskWords, allows_nothing, check_mask
from pararnn_core.sampling.sampling_params import SamplingParams


class NonFiniteLogits(ArithmeticError):
    """The model gave NaN, +inf, or -inf for each id that may be drawn; `rows` are their indices."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"the model gave logits that are not finite in rows {rows}; no token can be chosen")
        self.rows = rows


class NothingAllowed(ValueError):
    """A mask allows no token; `rows` are the indices of those rows."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"the masks of rows {rows} allow no token; none can be chosen")
        self.rows = rows


@dataclass(frozen=True, slots=True)
class SampleRow:
    """Parameters and counters that one row of logits is sampled with.

    choice, output_index: the counters of the random number; output_index counts the tokens of this reply.
    counts: token id -> occurrences in this reply.
    seen: (ceil(V / 8),) uint8, bit id % 8 of byte id // 8 is set for every token in the context; only
    repetition_penalty needs it.
    mask: the ids that may be drawn, as `mask_words` says; None: all.
    """

    params: SamplingParams
    choice: int = 0
    output_index: int = 0
    counts: Mapping[int, int] = field(default_factory=dict)
    seen: torch.Tensor | None = None
    mask: MaskWords | None = None


def check_masks(rows: Sequence[SampleRow], vocab_size: int) -> None:
    """Raise ValueError for words that are no mask, and NothingAllowed for rows that may draw no id."""
    masks = [(i, row.mask) for i, row in enumerate(rows) if row.mask is not None]
    for _, mask in masks:
        check_mask(mask, vocab_size)
    empty = [i for i, mask in masks if allows_nothing(mask, vocab_size)]
    if empty:
        raise NothingAllowed(empty)


class Sampled(NamedTuple):
    """A token; if asked for, its log-probability and the most likely tokens, by the unmodified logits."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
