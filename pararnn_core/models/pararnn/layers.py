"""The block of the language model in differentiable torch, for training and as the reference of serving.

B batch, T time, d hidden size (= D state channels), K taps of the convolution.
Weights narrower than float32 are widened at use. So arithmetic is float32, or float64 for a float64 model;
autocast may narrow the products. A matrix may also be a QuantizedMatrix, whose product has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core.cells import Cell
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.weights.quantized_matrix import QuantizedMatrix


class LayerStart(NamedTuple):
    """The state of a layer before the first token, equal for all sequences of a batch.

    cell: (N, D); conv: (K-1, D), the inputs of the convolution before the first, oldest first
    """

    cell: Tensor
    conv: Tensor


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return float64 for a float64 weight, else float32."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def product(x: Tensor, weight: Tensor | QuantizedMatrix) -> Tensor:
    """Return x (..., I) weight^T (I, O), in the dtype of x, or float32 for a quantised weight."""
    if isinstance(weight, QuantizedMatrix):
        return weight.reference_linear(x)
    return F.linear(x, weight.to(x.dtype))


class Linear(nn.Module):
    """A product; weight (O, I), bias (O,) or None."""

    weight: nn.Parameter | QuantizedMatrix
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., O)."""
        y = product(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class RMSNorm(nn.Module):
    """Root mean square norm over the last dimension; weight (d,)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> x / sqrt(mean(x^2) + eps) * weight."""
        x = x.to(compute_dtype(self.weight))
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight.to(x.dtype)


class CausalConv1d(nn.Module):
    """Depthwise causal convolution; weight (D, K), whose index K-1 multiplies the newest token."""

    def __init__(self, size: int, kernel: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(size, kernel))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """x (B, T, D), preceded by `before` (K-1, D) or zeros -> (B, T, D)."""
        x = x.to(compute_dtype(self.weight))
        length, kernel = x.shape[1], self.weight.shape[1]
        if before is None:
            padded = F.pad(x, (0, 0, kernel - 1, 0))
        else:
            padded = torch.cat((before.to(x.dtype).expand(len(x), -1, -1), x), dim=1)
        weight = self.weight.to(x.dtype)
        y = self.bias.to(x.dtype).expand_as(x)
        for k in range(kernel):
            y = torch.addcmul(y, padded[:, k : k + length], weight[:, k])
        return F.silu(y) if self.activation == "silu" else y


class GatedMLP(nn.Module):
    """The channel mixer of a block."""

    def __init__(self, size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(size, hidden_size)
        self.up_proj = Linear(size, hidden_size)
        self.down_proj = Linear(hidden_size, size)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> W_down(SiLU(W_gate x) * W_up x) (..., d)."""
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class Block(nn.Module):
    """A layer: the recurrent mixer, then the MLP. A part that the config leaves out is None."""

    residual_scale: nn.Parameter | None
    norm: RMSNorm
    in_proj: Linear
    conv: CausalConv1d
    gate_norm: RMSNorm
    out_proj: Linear
    mlp_norm: RMSNorm
    mlp: GatedMLP

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, sizes = config.hidden_size, config.sizes
        self.config = config
        self.norm = norm_or_none(sizes["n"], config)
        self.in_proj = none_unless(sizes["i"], lambda: Linear(d, sizes["i"]))
        self.conv = none_unless(
            sizes["c"], lambda: CausalConv1d(d, config.conv_kernel, config.conv_activation)
        )
        self.cell = build_cell(config)
        self.gate_norm = norm_or_none(sizes["g"], config)
        self.out_proj = none_unless(sizes["o"], lambda: Linear(d, d))
        scaled = config.residual_scale == "scalar"
        # A registered None keeps the attribute but is no part of a state dict.
        self.register_parameter("residual_scale", nn.Parameter(torch.ones(1)) if scaled else None)
        self.mlp_norm = norm_or_none(sizes["q"], config)
        self.mlp = none_unless(sizes["m"], lambda: GatedMLP(d, config.mlp_hidden_size))

    def forward(self, x: Tensor, mode: str | None = None, start: LayerStart | None = None) -> Tensor:
        """x (B, T, d) -> (B, T, d), whole sequences.

        mode: None is that of the cell; start: None is zeros
        """
        mixed = self.mix(_applied(self.norm, x), mode, start)
        if self.residual_scale is not None:
            x = self.residual_scale.to(x.dtype) * x
        x = x + mixed if self.config.mixer_residual else mixed
        if self.mlp is None:
            return x
        update: Tensor = self.mlp(_applied(self.mlp_norm, x))
        return x + update if self.config.mlp_residual else update

    def mix(self, u: Tensor, mode: str | None = None, start: LayerStart | None = None) -> Tensor:
        """Return the mixer's update of the residual stream (B, T, d) for its normalised rows u (B, T, d)."""
        v, g = self.project(u)
        if self.conv is not None:
            before = None if start is None else self.round_activation(start.conv)
            v = self.conv(self.round_activation(v), before)
        initial = None if start is None else start.cell.expand(len(u), -1, -1)
        y, _ = self.cell(v, initial, mode=mode)
        return _applied(self.out_proj, self.gate(y, g))

    def project(self, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the rows for the convolution or the cell, and those for the gate, if there is one."""
        rows = _applied(self.in_proj, u)
        if not self.config.has_gate:
            return rows, None
        v, g = rows.chunk(2, dim=-1)
        return v, g

    def round_activation(self, v: Tensor) -> Tensor:
        """Return v rounded to bfloat16 if that is the activation dtype, else v itself, also in float64."""
        # Serving keeps these rows in its state in this type, so the reference rounds them too.
        rounds = self.config.activation_dtype_on(v.device.type) == "bfloat16"
        return v.to(torch.bfloat16) if rounds else v

    def gate(self, y: Tensor, g: Tensor | None) -> Tensor:
        """Return y gated by g and normalised, in the order of the config; all (B, T, D)."""
        if self.gate_norm is None or g is None:
            return _applied(self.gate_norm, y)
        gate = F.silu(g.to(compute_dtype(self.gate_norm.weight)))
        normed: Tensor
        if self.config.gate_order == "gate_then_norm":
            normed = self.gate_norm(y * gate)
        else:
            normed = self.gate_norm(y) * gate
        return normed


def none_unless(size: int, make: Callable[[], nn.Module]) -> Any:
    """Return make(), or None for a part of size 0."""
    return make() if size else None


def norm_or_none(size: int, config: ModelConfig) -> Any:
    """Return a norm of that size, or None for size 0."""
    return none_unless(size, lambda: RMSNorm(size, config.norm_eps))


def _applied(module: nn.Module | None, x: Tensor) -> Tensor:
    """Return module(x), or x itself where the block has no such module."""
    y: Tensor = x if module is None else module(x)
    return y


def build_cell(config: ModelConfig) -> Cell:
    """Return a cell with newly drawn parameters, d inputs and d channels."""
    return config.cell_type(config.hidden_size, config.hidden_size, config.num_heads)
