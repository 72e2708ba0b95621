"""Replies to a batch of prompts, by either model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Draw = Callable[[Tensor], Tensor]
"""logits (B, V) -> tokens (B,)."""


class Decoder(Protocol):
    """Sequences side by side."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begins a batch; logits (B, V) after each prompt."""

    def step(self, tokens: Tensor) -> Tensor:
        """tokens (B,), one more of each sequence -> logits (B, V)."""

    def keep(self, rows: Tensor) -> None:
        """Drops all sequences but these."""


@dataclass(frozen=True)
class Reply:
    """ended: by the end token, which is not among the tokens."""

    tokens: list[int]
    ended: bool


def greedy(logits: Tensor) -> Tensor:
    """The best token of each row."""
    return logits.argmax(-1)


def sampler(temperature: float, top_p: float, seed: int) -> Draw:
    """Draws from the smallest set of tokens whose probability reaches top_p."""
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
    """One for each prompt, in their order. Sequences that ended leave the batch."""
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
