"""Replies to a batch of prompts, by either model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Draw = Callable[[Tensor], Tensor]
"""A function from logits (B, V) to tokens (B,)."""


class Decoder(Protocol):
    """A decoder of a batch of sequences."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begin a batch; return logits (B, V) after each prompt."""

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to each sequence, tokens (B,); return logits (B, V)."""

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences except these."""


@dataclass(frozen=True)
class Reply:
    """A reply. ended: True if by the end token, which is not among the tokens."""

    tokens: list[int]
    ended: bool


def greedy(logits: Tensor) -> Tensor:
    """Return the likeliest token of each row."""
    return logits.argmax(-1)


def sampler(temperature: float, top_p: float, seed: int) -> Draw:
    """Return a function that draws from the smallest set of tokens whose probability reaches top_p."""
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        ordered, tokens = (logits / temperature).softmax(-1).sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
        place = torch.multinomial(ordered, 1, generator=generator)
        return tokens.gather(1, place).squeeze(1)

    return draw


def replies(
    decoder: Decoder, prompts: Sequence[Sequence[int]], draw: Draw, end_token: int, max_tokens: int
) -> list[Reply]:
    """Return a reply for each prompt, in their order. Sequences that ended leave the batch."""
    tokens: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    active = torch.arange(len(prompts))
    logits = decoder.start(prompts)
    for number in range(max_tokens):
        drawn = draw(logits)
        going = drawn != end_token
        for row, token in zip(active.tolist(), drawn.tolist(), strict=True):
            if token == end_token:
                ended[row] = True
            else:
                tokens[row].append(token)
        if not bool(going.any()) or number + 1 == max_tokens:
            break
        if not bool(going.all()):
            decoder.keep(going.nonzero().squeeze(1))
            active, drawn = active[going], drawn[going]
        logits = decoder.step(drawn)
    return [Reply(one, end) for one, end in zip(tokens, ended, strict=True)]
