"""The contexts at which both models are measured, and what each measurement yields."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CONTEXTS = (64, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 100_000)
TEACHER_CONTEXT = 8192
"""Tokens that the transformer was trained for."""
TEACHER_LIMIT = 16_384
"""The longest context in which it is measured, to show what happens beyond its training."""
DECODED = 64
"""Tokens that one measurement of decoding reads after a context."""
ROUNDS = 5
"""Measurements of decoding at a context; the median counts."""
TURN = 512
"""Tokens that one model reads before it is the other's turn; the median turn of a part counts."""
PAUSE_SECONDS = 0.05
"""Before each turn: threads that have finished spin for a while."""


@dataclass(frozen=True)
class Point:
    """A model after `tokens` tokens of context.

    memory: bytes that the conversation needs; read_rate, decode_rate: tokens a second, of the median turn
    since the point before and of single tokens after it; loss: nats a token of the passages
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

    def save(self, file: Path) -> None:
        """Write the conversation to a file."""

    def load(self, file: Path, tokens: int) -> None:
        """Replace the conversation by a saved one of so many tokens."""


def measure_part(
    subjects: Sequence[Subject],
    text: Sequence[int],
    passages: Sequence[Sequence[int]],
    before: int,
    tokens: int,
    pause: float = PAUSE_SECONDS,
) -> list[Point]:
    """Return a point of each subject, which have read `before` tokens of the text and take turns from there.

    The passages are no part of the context.
    """
    for subject in subjects:
        subject.loss(passages[0])  # Touches all weights: the first use of a process is slow.
    readings: list[list[float]] = [[] for _ in subjects]
    for start in range(before, tokens, TURN):
        ids = text[start : min(start + TURN, tokens)]
        for rates, subject in zip(readings, subjects, strict=True):
            time.sleep(pause)
            rates.append(len(ids) / subject.read(ids))
    decodings: list[list[float]] = [[] for _ in subjects]
    for round_number in range(1 + ROUNDS):
        for taken, subject in zip(decodings, subjects, strict=True):
            time.sleep(pause)
            spent = subject.decode(text[tokens : tokens + DECODED])
            if round_number:  # The first round warms the caches up.
                taken.append(spent)
    predicted = sum(len(passage) - 1 for passage in passages)
    return [
        Point(
            tokens,
            subject.memory(),
            statistics.median(rates),
            DECODED / statistics.median(taken),
            sum(subject.loss(passage) for passage in passages) / predicted,
        )
        for subject, rates, taken in zip(subjects, readings, decodings, strict=True)
    ]
