"""Batched generation by the student through its serving path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM


class StudentDecoder:
    """A decoder with a slot of the state pool for each sequence."""

    def __init__(self, model: ParaRNNForCausalLM) -> None:
        self.model = model
        self.state = model.new_state(1)
        self.slots = torch.zeros(0, dtype=torch.int32)

    @torch.no_grad()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begin a batch; return logits (B, V) after each prompt."""
        self.state = self.model.new_state(len(prompts))
        self.slots = torch.arange(len(prompts), dtype=torch.int32)
        lengths = torch.tensor([0, *map(len, prompts)]).cumsum(0).int()
        tokens = torch.tensor([token for prompt in prompts for token in prompt])
        fresh = torch.zeros(len(prompts), dtype=torch.bool)
        logits: Tensor = self.model(tokens, lengths, self.slots, self.state, has_initial_state=fresh)
        return logits

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to each sequence, tokens (B,); return logits (B, V)."""
        bounds = torch.arange(len(tokens) + 1, dtype=torch.int32)
        logits: Tensor = self.model(tokens, bounds, self.slots, self.state)
        return logits

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences except these."""
        self.slots = self.slots[rows].contiguous()
