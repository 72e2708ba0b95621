"""Perplexity and bits per byte of a model on text, in the arithmetic of serving."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM

CHUNK = 512


@dataclass(frozen=True)
class Perplexity:
    """A measurement. nats: negative log-likelihood of all predicted tokens; num_bytes: of the text."""

    tokens: int
    num_bytes: int
    nats: float

    @property
    def perplexity(self) -> float:
        """e to the nats of a token."""
        return math.exp(min(self.nats / self.tokens, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Bits of all predicted tokens, divided by the bytes of the text."""
        return self.nats / math.log(2) / self.num_bytes


class Reader:
    """A reader of one stream of tokens, in chunks as the server reads a prompt.

    The first token of a stream has no prediction. Memory does not depend on the stream's length.
    """

    def __init__(self, model: ParaRNNForCausalLM) -> None:
        self._model, self._state = model, model.new_state(1)
        self._slots = torch.zeros(1, dtype=torch.int32, device=model.device)
        self._waiting: list[int] = []
        self._begun = False
        self.tokens, self.nats = 0, 0.0

    def begin(self) -> None:
        """Begin a new document, from a zero state."""
        self._waiting, self._begun = [], False

    def read(self, ids: Iterable[int], end: bool = False) -> None:
        """Read more of the document, at its end all of it."""
        self._waiting.extend(ids)
        while len(self._waiting) > CHUNK or (end and len(self._waiting) > 1):
            self._step(self._waiting[: CHUNK + 1])
            del self._waiting[:CHUNK]

    @torch.no_grad()
    def _step(self, ids: list[int]) -> None:
        row = torch.tensor(ids, dtype=torch.int64, device=self._model.device)
        count = len(ids) - 1
        logits = self._model.step(
            row[:-1],
            torch.tensor([0, count], dtype=torch.int32, device=row.device),
            self._slots,
            self._state,
            has_initial_state=torch.tensor([self._begun], device=row.device),
            logits_indices=torch.arange(count, device=row.device),
        )
        self._begun = True
        self.tokens += count
        self.nats += float(F.cross_entropy(logits.float(), row[1:], reduction="sum"))


def measure_perplexity(
    model: ParaRNNForCausalLM,
    documents: Iterable[Iterable[tuple[list[int], int]]],
    progress: Callable[[int, float], None] | None = None,
) -> Perplexity:
    """Measure a model on documents, each from a zero state. A document's first token is not predicted.

    documents: the parts of each, as token ids and the bytes of their text
    progress: progress(bytes done, bits per byte so far)
    Raises ValueError if there is no token to predict.
    """
    reader, num_bytes = Reader(model), 0
    for parts in documents:
        reader.begin()
        for ids, size in parts:
            reader.read(ids)
            num_bytes += size
            if progress is not None and reader.tokens:
                progress(num_bytes, reader.nats / math.log(2) / num_bytes)
        reader.read((), end=True)
    if not reader.tokens:
        raise ValueError("the text has no token to predict: give a longer one")
    return Perplexity(reader.tokens, num_bytes, reader.nats)
