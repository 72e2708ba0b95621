"""The chat model as a subject, in the arithmetic that is served."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.quantize.quality import CHUNK
from pararnn_core.state.state import StateSnapshot


class Student:
    """A checkpoint with one conversation, on the native kernels."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = load_checkpoint(checkpoint)
        self._state = self._model.new_state(1)

    def read(self, ids: Sequence[int]) -> float:
        """See Subject.read."""
        began = time.perf_counter()
        for start in range(0, len(ids), CHUNK):
            self._step(ids[start : start + CHUNK], every=False)
        return time.perf_counter() - began

    def memory(self) -> int:
        """See Subject.memory."""
        return self._state.snapshot(0).nbytes

    def decode(self, ids: Sequence[int]) -> float:
        """See Subject.decode."""
        before = self._state.snapshot(0)
        began = time.perf_counter()
        for token in ids:
            self._step([token], every=False)
        seconds = time.perf_counter() - began
        self._state.restore(0, before)
        return seconds

    def loss(self, passage: Sequence[int]) -> float:
        """See Subject.loss."""
        before = self._state.snapshot(0)
        logits = self._step(passage[:-1], every=True)
        self._state.restore(0, before)
        return float(F.cross_entropy(logits, torch.tensor(passage[1:]), reduction="sum"))

    def save(self, file: Path) -> None:
        """See Subject.save."""
        file.write_bytes(self._state.snapshot(0).to_bytes())

    def load(self, file: Path, _: int) -> None:
        """See Subject.load."""
        parts = self._state.snapshot(0).parts
        self._state.restore(0, StateSnapshot.from_bytes(parts, file.read_bytes()))

    def _step(self, ids: Sequence[int], every: bool) -> Tensor:
        """Read ids and return logits (n, V) after every one, or (1, V) after the last."""
        tokens = torch.tensor(ids)
        ends = torch.tensor([0, len(ids)], dtype=torch.int32)
        rows = torch.arange(len(ids)) if every else torch.tensor([len(ids) - 1])
        slots = torch.zeros(1, dtype=torch.int32)
        return self._model.forward(tokens, ends, slots, self._state, logits_indices=rows)
