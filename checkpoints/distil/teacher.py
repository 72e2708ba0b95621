"""The teacher's forward pass in torch: grouped attention with rotary positions, SwiGLU, tied head.

B batch, T time, d hidden size, H heads of d / H channels. Products are in the matrices' dtype, the residual
stream is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from checkpoints.distil.layers import PLAIN, Layers, normalised
from checkpoints.distil.teacher_weights import TeacherBlock, TeacherWeights
from pararnn_core.assemble.llama_file import LlamaSizes

OnLayer = Callable[[int, Tensor, Tensor, Tensor], None]
"""(layer, residual stream x, normalised input u of the attention, output a of the attention)."""


class Importance(NamedTuple):
    """Mean squares of an MLP's inputs: input (d,) of its two first matrices, inner (m,) of its last."""

    input: Tensor
    inner: Tensor


class FrozenMLP:
    """SwiGLU after its norm, without gradients for its weights: (..., d) float32 -> (..., d) float32."""

    def __init__(self, block: TeacherBlock, eps: float, dtype: torch.dtype) -> None:
        self.eps = eps
        self.norm = block.mlp_norm
        self.gate, self.up, self.down = (w.to(dtype) for w in (block.gate, block.up, block.down))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the MLP's update, without the residual sum."""
        return F.linear(self.inner(self.input(x)), self.down).float()

    def input(self, x: Tensor) -> Tensor:
        """Return the input of the two first matrices, (..., d)."""
        return normalised(x, self.norm, self.eps).to(self.down.dtype)

    def inner(self, u: Tensor) -> Tensor:
        """Return the input of the last matrix, (..., m)."""
        return F.silu(F.linear(u, self.gate)) * F.linear(u, self.up)

    def replaced(self, gate: Tensor, up: Tensor, down: Tensor) -> FrozenMLP:
        """Return this MLP with other matrices."""
        mlp, dtype = copy(self), self.down.dtype
        mlp.gate, mlp.up, mlp.down = (w.to(dtype) for w in (gate, up, down))
        return mlp


class Attention:
    """Causal self-attention of whole sequences, (B, T, d) -> (B, T, d) float32."""

    def __init__(self, block: TeacherBlock, sizes: LlamaSizes, dtype: torch.dtype) -> None:
        self.sizes = sizes
        self.query_key_value = torch.cat((block.query, block.key, block.value)).to(dtype)
        self.output = block.output.to(dtype)

    def __call__(self, u: Tensor, rotation: Tensor) -> Tensor:
        """Return the attention of normalised u. rotation: from `rotations`."""
        q, k, v = self.project(u, rotation)
        return self.finish(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))

    def project(self, u: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries (B, H, T, head_size) of u, and rotated keys and values with fewer heads."""
        s = self.sizes
        projected = F.linear(u.to(self.output.dtype), self.query_key_value)
        heads = projected.view(*projected.shape[:2], -1, s.head_size).transpose(1, 2)
        q, k, v = torch.split(heads, [s.num_heads, s.num_kv_heads, s.num_kv_heads], dim=1)
        return rotate(q, rotation), rotate(k, rotation), v

    def finish(self, mixed: Tensor) -> Tensor:
        """Return the output (B, T, d) float32 of mixed (B, H, T, head_size)."""
        return F.linear(mixed.transpose(1, 2).flatten(2), self.output).float()


class Teacher:
    """The whole model; `hidden` has no gradients. layers: the student uses them too."""

    def __init__(
        self, weights: TeacherWeights, dtype: torch.dtype = torch.bfloat16, layers: Layers = PLAIN
    ) -> None:
        self.sizes, self.layers = weights.sizes, layers
        self.embedding = weights.embedding
        self.head_weight = weights.embedding.to(dtype)
        self.norm = weights.norm
        self.norms = [block.norm for block in weights.blocks]
        self.attentions = [Attention(block, weights.sizes, dtype) for block in weights.blocks]
        self.mlps = [FrozenMLP(block, weights.sizes.norm_eps, dtype) for block in weights.blocks]

    @torch.no_grad()
    def hidden(self, tokens: Tensor, on_layer: OnLayer | None = None) -> Tensor:
        """Return the normalised rows before the head (B, T, d) float32 of tokens (B, T)."""
        rotation = rotations(tokens.shape[1], self.sizes)
        x = F.embedding(tokens, self.embedding)
        for layer, (norm, attention, mlp) in enumerate(
            zip(self.norms, self.attentions, self.mlps, strict=True)
        ):
            before = x
            u, a, x = self.layers.teacher(attention, norm, mlp, x, rotation)
            if on_layer is not None:
                on_layer(layer, before, u, a)
        return self.normalised(x, self.norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of hidden (..., d) in the matrices' dtype."""
        return F.linear(hidden.to(self.head_weight.dtype), self.head_weight)

    def normalised(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the root mean square norm of x."""
        return normalised(x, weight, self.sizes.norm_eps)


def rotations(length: int, sizes: LlamaSizes) -> Tensor:
    """Return the complex factors (T, head_size / 2) of the first positions."""
    frequency = sizes.rope_base ** (-torch.arange(0, sizes.head_size, 2).float() / sizes.head_size)
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, factors: Tensor) -> Tensor:
    """Rotate x (B, H, T, head_size), in its dtype. factors: (T, head_size / 2) or (B, 1, T, ...).

    Neighbouring channels are a pair, as in a GGUF file.
    """
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * factors).flatten(-2).to(x.dtype)
