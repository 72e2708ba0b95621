"""Norms, gates, residual sums and the causal convolution of the block. All float32 arithmetic, row by row."""

from torch import Tensor

from pararnn_core.ops.choices import ACTIVATIONS, GATE_ORDERS, number
from pararnn_core.ops.library import native


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x: (T, d); weight: (d,). Returns x / sqrt(mean(x^2) + eps) * weight."""
    out: Tensor = native().rms_norm(x, weight, eps)
    return out


def gated_rms_norm(y: Tensor, gate: Tensor, weight: Tensor, eps: float, gate_order: str) -> Tensor:
    """y: (T, d); gate: (T, d), its last dimension contiguous; weight: (d,).

    gate_order "gate_then_norm": rms_norm(y * silu(gate)); "norm_then_gate": rms_norm(y) * silu(gate).
    """
    order = number("gate_order", gate_order, GATE_ORDERS)
    out: Tensor = native().gated_rms_norm(y, gate, weight, eps, order)
    return out


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """gate, up: (T, m), their last dimension contiguous. Returns silu(gate) * up."""
    out: Tensor = native().silu_mul(gate, up)
    return out


def add_scaled(x: Tensor, scale: Tensor | None, y: Tensor) -> Tensor:
    """x, y: (T, d); scale: (1,) or None for 1. Returns scale * x + y."""
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
    """Depthwise causal convolution of packed sequences; conv_state[slots[s]] becomes the tail of sequence s.

    v: (T, D) float32, its last dimension contiguous, rounded to conv_state's dtype before use;
    weight: (D, K) float32, [:, K-1] meets the newest row; bias: (D,) or None; activation: "silu" or "none";
    cu_seqlens: (S+1,) int32; slots: (S,) int32, -1 skips the sequence (its rows of the result are 0);
    has_initial_state: (S,) bool; conv_state: (slots, K-1, D) float32 or bfloat16, oldest first.
    Returns (T, D) float32.
    """
    kind = number("activation", activation, ACTIVATIONS)
    out: Tensor = native().causal_conv1d_(
        v, weight, bias, kind, cu_seqlens, slots, has_initial_state, conv_state
    )
    return out
