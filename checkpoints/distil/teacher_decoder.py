"""Batched generation by the teacher, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from checkpoints.distil.teacher import Teacher, rotations


class TeacherDecoder:
    """Sequences of different lengths side by side; a row's cache beyond its length is never read."""

    def __init__(self, teacher: Teacher, max_length: int) -> None:
        self.teacher = teacher
        self.factors = rotations(max_length, teacher.sizes)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.lengths = torch.zeros(0, dtype=torch.long)

    @torch.no_grad()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begin a batch; return logits (B, V) after each prompt."""
        sizes, dtype = self.teacher.sizes, self.teacher.head_weight.dtype
        shape = (len(prompts), sizes.num_kv_heads, len(self.factors), sizes.head_size)
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in self.teacher.attentions]
        self.values = [torch.zeros(shape, dtype=dtype) for _ in self.teacher.attentions]
        self.lengths = torch.tensor([len(prompt) for prompt in prompts])
        padded = torch.zeros(len(prompts), int(self.lengths.max()), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = torch.tensor(prompt)
        hidden = self._hidden(padded, torch.arange(padded.shape[1]).expand_as(padded))
        return self.teacher.logits(hidden[torch.arange(len(prompts)), self.lengths - 1]).float()

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to each sequence, tokens (B,); return logits (B, V)."""
        hidden = self._hidden(tokens[:, None], self.lengths[:, None])
        self.lengths = self.lengths + 1
        return self.teacher.logits(hidden[:, 0]).float()

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences except these."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.lengths = self.lengths[rows]

    def _hidden(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return the normalised rows before the head (B, T, d) of tokens and positions (B, T)."""
        teacher = self.teacher
        rotation = self.factors[positions][:, None]
        end = int(positions.max()) + 1
        visible = (torch.arange(end) <= positions[..., None])[:, None]
        rows = torch.arange(len(tokens))[:, None]
        x = F.embedding(tokens, teacher.embedding)
        for layer, attention in enumerate(teacher.attentions):
            q, k, v = attention.project(teacher.normalised(x, teacher.norms[layer]), rotation)
            keys, values = self.keys[layer], self.values[layer]
            keys[rows, :, positions] = k.transpose(1, 2)
            values[rows, :, positions] = v.transpose(1, 2)
            mixed = F.scaled_dot_product_attention(
                q, keys[:, :, :end], values[:, :, :end], attn_mask=visible, enable_gqa=True
            )
            x = x + attention.finish(mixed)
            x = x + teacher.mlps[layer](x)
        return teacher.normalised(x, teacher.norm)
