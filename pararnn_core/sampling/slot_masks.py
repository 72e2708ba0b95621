"""Masks of the rows that are sampled together, by slot, as the native sampler reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pararnn_core.ops.devices import on_device
from pararnn_core.sampling.mask_words import MaskWords, allows_nothing, check_mask, num_words
from pararnn_core.sampling.sampled import NothingAllowed


class SlotMasks:
    """A flag and the words of a mask per slot. One thread at a time.

    Until the first mask both tables are empty, and the sampler does not look at them.
    On a device a mask goes over with the first draw after it was set.
    """

    def __init__(self, num_slots: int, vocab_size: int, device: torch.device) -> None:
        self._num_slots = num_slots
        self._vocab_size = vocab_size
        self._device = device
        self._changed: set[int] = set()
        self._make(0)

    def set(self, slot: int, words: MaskWords | None) -> None:
        """Copy the mask of a slot; None: every id may be drawn.

        Raises ValueError for words that are no mask, NothingAllowed if they allow no id. Then the slot's mask
        stays as it was.
        """
        if words is None:
            # A slot without a mask needs no transfer. Old words may stay: without the flag they are not
            # read.
            if len(self._flags) and self._flags[slot]:
                self._flags[slot] = False
                self._changed.add(slot)
            return
        check_mask(words, self._vocab_size)
        if allows_nothing(words, self._vocab_size):
            raise NothingAllowed([slot])
        if not len(self._flags):
            self._make(self._num_slots)
        self._words[slot] = words
        self._flags[slot] = True
        self._changed.add(slot)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return masked (S,) bool and masks (S, ceil(V / 32)) int32 on the device, or both without rows."""
        if self._changed and self._device.type != "cpu":
            slots = torch.tensor(sorted(self._changed))
            places = on_device(slots, self._device)
            for there, here in zip(self._there, self._host, strict=True):
                there.index_copy_(0, places, on_device(here[slots], self._device))
        self._changed.clear()
        return self._there

    def _make(self, num_rows: int) -> None:
        # NumPy's zeros take no memory before they are touched.
        self._flags = np.zeros(num_rows, np.bool_)
        self._words = np.zeros((num_rows, num_words(self._vocab_size)), np.int32)
        self._host = (torch.from_numpy(self._flags), torch.from_numpy(self._words))
        # On a CPU the same memory.
        self._there = (self._host[0].to(self._device), self._host[1].to(self._device))
