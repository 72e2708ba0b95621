"""Options of the rows that are sampled together, by slot, as the arrays that the native sampler reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.ops.devices import on_device
from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.rng import check_counters
from pararnn_core.sampling.sampling_params import NUMBERS, SamplingParams
from pararnn_core.sampling.slot_masks import SlotMasks

_NEUTRAL = SamplingParams(temperature=0.0)


class SamplingTable:
    """One row of options per slot. A slot enters with `start` and leaves with `clear`; between the two its
    counters and counts move on by themselves with every id that is drawn. A mask stays until the next one,
    or until the slot is started or cleared. One thread at a time.

    On a device the options go over with the first draw after they changed, and nothing comes back but ids.
    """

    def __init__(self, num_slots: int, vocab_size: int, device: str | torch.device = "cpu") -> None:
        self._num_slots = num_slots
        self._vocab_size = vocab_size
        self._device = torch.device(device)
        self._numbers = np.zeros((num_slots, len(NUMBERS)))
        self._counters = np.zeros((num_slots, 4), np.int64)
        self._host = (torch.from_numpy(self._numbers), torch.from_numpy(self._counters))
        # On a CPU the same memory.
        self._options = (self._host[0].to(self._device), self._host[1].to(self._device))
        self._changed: set[int] = set()
        # Counts of a slot take 4 bytes for each id of the vocabulary, and only penalties need them.
        self._counts = torch.zeros((0, vocab_size), dtype=torch.int32, device=self._device)
        self._masks = SlotMasks(num_slots, vocab_size, self._device)
        self._biases: dict[int, Mapping[int, float]] = {}
        self._bias_tensors = self._send_biases()
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
        self._numbers[slot] = [getattr(params, name) for name in NUMBERS]
        top_k = min(params.top_k, self._vocab_size)
        # The index is unsigned, but the array is signed: the upper half of its range becomes negative.
        self._counters[slot] = (top_k, params.seed, choice, output_index - (output_index >> 63 << 64))
        self._changed.add(slot)
        # A mask belongs to one reply; the slot's next reply must not inherit it.
        self._masks.set(slot, None)
        if params.presence_penalty or params.frequency_penalty:
            self._start_counts(slot, counts or {})
        if params.logit_bias or slot in self._biases:
            self._biases[slot] = params.logit_bias
            self._biases = {slot: bias for slot, bias in self._biases.items() if bias}
            self._bias_tensors = self._send_biases()

    def set_mask(self, slot: int, words: MaskWords | None) -> None:
        """Let the slot's next draws give only ids that the mask allows; None: any. The words are copied.

        Raises ValueError for words that are no mask, NothingAllowed (rows: the slot) if they allow no id.
        """
        self._masks.set(slot, words)

    def clear(self, slot: int) -> None:
        """Forget the slot's options."""
        self.start(slot, _NEUTRAL)

    def sample(self, logits: Tensor, rows: Tensor, slots: Tensor, seen: Tensor) -> list[int]:
        """The ids of `draw`, once the device has them."""
        ids: list[int] = self.draw(logits, rows, slots, seen).tolist()
        return ids

    def draw(self, logits: Tensor, rows: Tensor, slots: Tensor, seen: Tensor) -> Tensor:
        """Ids (M,) int64 drawn from rows (M,) int64 of logits (*, V) for slots (M,) int32; -1 where a row is
        not finite, or -inf for every id that its mask allows.

        logits, and seen (slots, ceil(V / 8)) uint8, or no rows if no slot has a repetition_penalty, are on
        the table's device, as the ids are; rows and slots on the host.
        """
        self._send_changes()
        where = (on_device(rows, self._device), on_device(slots, self._device))
        penalties = (seen, self._counts, *self._bias_tensors)
        return ops.sample(logits, *where, *self._options, *penalties, *self._masks.tensors())

    def _send_changes(self) -> None:
        if self._changed and self._device.type != "cpu":
            slots = torch.tensor(sorted(self._changed))
            places = on_device(slots, self._device)
            for there, here in zip(self._options, self._host, strict=True):
                there.index_copy_(0, places, on_device(here[slots], self._device))
        self._changed.clear()

    def _send_biases(self) -> tuple[Tensor, Tensor, Tensor]:
        bounds, ids, values = _bias_tensors(self._biases, self._num_slots)
        device = self._device
        return on_device(bounds, device), on_device(ids, device), on_device(values, device)

    def _start_counts(self, slot: int, counts: Mapping[int, int]) -> None:
        if not len(self._counts):
            self._counts = self._no_counts()
        # The slot's last reply left its counts here.
        self._counts[slot].zero_()
        ids = torch.tensor([*counts], dtype=torch.int64)
        occurrences = torch.tensor([*counts.values()], dtype=torch.int32)
        row = self._counts[slot]
        row.index_copy_(0, on_device(ids, self._device), on_device(occurrences, self._device))

    def _no_counts(self) -> Tensor:
        shape = (self._num_slots, self._vocab_size)
        if self._device.type == "cpu":
            # NumPy's zeros take no memory before they are touched.
            return torch.from_numpy(np.zeros(shape, np.int32))
        return torch.zeros(shape, dtype=torch.int32, device=self._device)


def _bias_tensors(biases: Mapping[int, Mapping[int, float]], num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bounds, ids and values, the ids of a slot in rising order."""
    sizes = [len(biases.get(slot, ())) for slot in range(num_slots)]
    ordered = [sorted(biases[slot].items()) for slot in sorted(biases)]
    return (
        torch.tensor(np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))),
        torch.tensor([token for bias in ordered for token, _ in bias], dtype=torch.int32),
        torch.tensor([value for bias in ordered for _, value in bias], dtype=torch.float64),
    )
