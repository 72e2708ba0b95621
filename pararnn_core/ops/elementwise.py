"""Norms, gates, residual sums and the causal convolution of a layer. All arithmetic is float32, row by row.

On CUDA these may be bfloat16: the gate and result of gated_rms_norm, all of silu_mul, v and the result of
causal_conv1d_. The values of cu_seqlens and slots are not checked there.
"""

import torch
from torch import Tensor

from pararnn_core.ops.choices import ACTIVATIONS, DTYPES, GATE_ORDERS, number
from pararnn_core.ops.library import native


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight. x: (T, d); weight: (d,)."""
    out: Tensor = native().rms_norm(x, weight, eps)
    return out


def add_rms_norm_(
    x: Tensor,
    update: Tensor | None,
    scale: Tensor | None,
    weight: Tensor,
    eps: float,
    dtype: torch.dtype,
    replaces: bool = False,
) -> Tensor:
    """Set x to scale * x + update, or to update if `replaces`, and return the norm of x. On CUDA only.

    x: (T, d) float32, the residual stream; update: (T, d) float32 or bfloat16, None does not change x
    scale: (1,) float32 or None for 1; weight: (d,) float32
    Returns x / sqrt(mean(x^2) + eps) * weight, (T, d) in dtype: float32 or bfloat16.
    """
    kind = number("dtype", str(dtype).removeprefix("torch."), DTYPES)
    out: Tensor = native().add_rms_norm_(x, update, scale, weight, eps, kind, replaces)
    return out


def gated_rms_norm(y: Tensor, gate: Tensor, weight: Tensor, eps: float, gate_order: str) -> Tensor:
    """Return y gated and normalised. y: (T, d); gate: (T, d), its last dimension contiguous; weight: (d,).

    gate_order "gate_then_norm": rms_norm(y * silu(gate)); "norm_then_gate": rms_norm(y) * silu(gate).
    """
    order = number("gate_order", gate_order, GATE_ORDERS)
    out: Tensor = native().gated_rms_norm(y, gate, weight, eps, order)
    return out


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up. gate, up: (T, m), their last dimension contiguous."""
    out: Tensor = native().silu_mul(gate, up)
    return out


def add_scaled(x: Tensor, scale: Tensor | None, y: Tensor) -> Tensor:
    """Return scale * x + y. x, y: (T, d); scale: (1,) or None for 1."""
    out: Tensor = native().add_scaled(x, scale, y)
    return out


def causal_conv1d_(
    v: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    cu_seqlens: Tensor,
    slots: Tensor,
    has_initial_state: Tensor,
    conv_state: Tensor,
) -> Tensor:
    """Convolve packed sequences, depthwise and causal, and store each sequence's tail in its slot.

    v: (T, D) float32, its last dimension contiguous, rounded to conv_state's dtype before use
    weight: (D, K) float32 contiguous, [:, K-1] multiplies the newest row; on CUDA its transpose is contiguous
    bias: (D,) or None; activation: "silu" or "none"
    cu_seqlens: (S+1,) int32; slots: (S,) int32, -1 skips the sequence (its rows of the result are 0)
    has_initial_state: (S,) bool; conv_state: (slots, K-1, D) float32 or bfloat16, oldest first
    Returns (T, D) float32.
    """
    kind = number("activation", activation, ACTIVATIONS)
    out: Tensor = native().causal_conv1d_(
        v, weight, bias, kind, cu_seqlens, slots, has_initial_state, conv_state
    )
    return out
