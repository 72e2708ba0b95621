"""The language model: `logits` trains and is the reference, `forward` serves."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core.config import ModelConfig
from pararnn_core.layers import Block, CausalConv1d, Linear, RMSNorm, compute_dtype


class Embedding(nn.Module):
    """A row per token; weight (V, d)."""

    def __init__(self, vocab_size: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, size))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., d) float32, or float64 for a float64 weight."""
        return F.embedding(tokens, self.weight).to(compute_dtype(self.weight))


class ParaRNNForCausalLM(nn.Module):
    """Built with freshly drawn float32 parameters; bfloat16 and float64 parameters are understood too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal(0, 0.02), by sqrt(2 L) less for what adds to the residual stream. Cells draw their own."""
        for module in self.modules():
            if isinstance(module, (Linear, Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, CausalConv1d):
                bound = 1 / math.sqrt(module.weight.shape[1])
                nn.init.uniform_(module.weight, -bound, bound)
        for block in self.blocks:
            for linear in (block.out_proj, block.mlp.down_proj):
                nn.init.normal_(linear.weight, std=0.02 / math.sqrt(2 * len(self.layers)))

    @property
    def blocks(self) -> list[Block]:
        """`layers`, typed."""
        return cast("list[Block]", list(self.layers))

    def hidden(self, tokens: Tensor, mode: str = "auto") -> Tensor:
        """tokens (B, T) -> final normalised rows (B, T, d)."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mode)
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, tokens: Tensor, mode: str = "auto") -> Tensor:
        """tokens (B, T), whole sequences from zero states -> (B, T, V); differentiable, torch products."""
        hidden = self.hidden(tokens, mode)
        weight = self.embedding.weight if self.config.tie_embeddings else self.lm_head.weight
        return F.linear(hidden, weight.to(hidden.dtype))
