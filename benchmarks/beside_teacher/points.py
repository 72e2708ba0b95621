"""The contexts at which both models are measured, and what each measurement yields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

CONTEXTS = (64, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 100_000)
TEACHER_CONTEXT = 8192
"""Tokens that the transformer was trained for."""
TEACHER_LIMIT = 16_384
"""The longest context in which it is measured, to show what happens beyond its training."""
DECODED = 64
"""Tokens that a measurement of speed decodes after a context."""


@dataclass(frozen=True)
class Point:
    """A model after `tokens` tokens of context.

    memory: bytes that the conversation needs; read_rate, decode_rate: tokens a second, of the part of the
    context since the point before and of single tokens after it; loss: nats a token of the passages
    """

    tokens: int
    memory: int
    read_rate: float
    decode_rate: float
    loss: float

    @property
    def perplexity(self) -> float:
        """Perplexity of the passages after this context."""
        return math.exp(self.loss)


class Subject(Protocol):
    """A model with one conversation."""

    def read(self, ids: Sequence[int]) -> float:
        """Append ids to the conversation; return the seconds it took."""

    def memory(self) -> int:
        """Return the bytes of the conversation."""

    def decode(self, ids: Sequence[int]) -> float:
        """Return the seconds to read ids one by one, each with its logits; the conversation is as before."""

    def loss(self, passage: Sequence[int]) -> float:
        """Return the sum of nats of a passage but its first token; the conversation is as before."""


def measured(
    subject: Subject, text: Sequence[int], passages: Sequence[Sequence[int]], contexts: Sequence[int]
) -> list[Point]:
    """Return the points of a model that reads the text. The passages are not part of it."""
    points, before = [], 0
    predicted = sum(len(passage) - 1 for passage in passages)
    for tokens in contexts:
        seconds = subject.read(text[before:tokens])
        loss = sum(subject.loss(passage) for passage in passages) / predicted
        decode_rate = DECODED / subject.decode(text[tokens : tokens + DECODED])
        points.append(Point(tokens, subject.memory(), (tokens - before) / seconds, decode_rate, loss))
        before = tokens
    return points
