"""Options of the rows that are sampled together, by slot, as the arrays that the native sampler reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.rng import check_counters
from pararnn_core.sampling_params import SamplingParams

_NEUTRAL = SamplingParams(temperature=0.0)
_REPETITION = 3
"""The column of repetition_penalty."""


class SamplingTable:
    """One row of options per slot. A slot enters with `start` and leaves with `clear`; between the two its
    counters and counts move on by themselves with every id that is drawn. One thread at a time.
    """

    def __init__(self, num_slots: int, vocab_size: int) -> None:
        self._num_slots = num_slots
        self._vocab_size = vocab_size
        # Arrays of NumPy's, whose memory is not touched before it is used, shared with torch.
        self._numbers = np.zeros((num_slots, 6))
        self._counters = np.zeros((num_slots, 4), np.int64)
        self._counts = np.zeros((0, vocab_size), np.int32)
        self._biases: dict[int, Mapping[int, float]] = {}
        self._tensors = (torch.from_numpy(self._numbers), torch.from_numpy(self._counters))
        self._count_tensor = torch.from_numpy(self._counts)
        self._bias_tensors = _bias_tensors({}, num_slots)
        for slot in range(num_slots):
            self.clear(slot)

    def start(
        self,
        slot: int,
        params: SamplingParams,
        choice: int = 0,
        output_index: int = 0,
        counts: Mapping[int, int] | None = None,
    ) -> None:
        """The slot's options from now on; counts: occurrences in a reply that is under way.

        Raises ValueError for a choice or output_index out of range.
        """
        check_counters(choice, output_index)
        self._numbers[slot] = (
            params.temperature,
            params.top_p,
            params.min_p,
            params.repetition_penalty,
            params.presence_penalty,
            params.frequency_penalty,
        )
        top_k = min(params.top_k, self._vocab_size)
        self._counters[slot] = (top_k, params.seed, choice, output_index - (output_index >> 63 << 64))
        if params.presence_penalty or params.frequency_penalty:
            self._start_counts(slot, counts or {})
        if params.logit_bias or slot in self._biases:
            self._biases[slot] = params.logit_bias
            self._biases = {slot: bias for slot, bias in self._biases.items() if bias}
            self._bias_tensors = _bias_tensors(self._biases, self._num_slots)

    def clear(self, slot: int) -> None:
        """Forgets the slot's options."""
        self.start(slot, _NEUTRAL)

    def sample(self, logits: Tensor, rows: Tensor, slots: Tensor, seen: Tensor) -> list[int]:
        """Ids drawn from rows (M,) int64 of logits (*, V) for slots (M,) int32; -1 where a row is not finite.

        seen: (slots, ceil(V / 8)) uint8, or no rows if no slot has a repetition_penalty. It may be on a
        device: then it is copied, if a slot has one.
        """
        if not seen.is_cpu:
            seen = seen.cpu() if self._look_back(slots) else torch.empty(0, seen.shape[1], dtype=seen.dtype)
        tokens = ops.sample(
            logits, rows, slots, *self._tensors, seen, self._count_tensor, *self._bias_tensors
        )
        ids: list[int] = tokens.tolist()
        return ids

    def _look_back(self, slots: Tensor) -> bool:
        penalties = self._numbers[slots.numpy(), _REPETITION]
        return bool((penalties != _NEUTRAL.repetition_penalty).any())

    def _start_counts(self, slot: int, counts: Mapping[int, int]) -> None:
        if not len(self._counts):
            self._counts = np.zeros((self._num_slots, self._vocab_size), np.int32)
            self._count_tensor = torch.from_numpy(self._counts)
        self._counts[slot] = 0
        self._counts[slot, list(counts)] = list(counts.values())


def _bias_tensors(biases: Mapping[int, Mapping[int, float]], num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
    sizes = [len(biases.get(slot, ())) for slot in range(num_slots)]
    ordered = [biases[slot] for slot in sorted(biases)]
    return (
        torch.tensor(np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))),
        torch.tensor([token for bias in ordered for token in bias], dtype=torch.int32),
        torch.tensor([value for bias in ordered for value in bias.values()], dtype=torch.float64),
    )
