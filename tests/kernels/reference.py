"""Plain float64 text of the kernels, and what the tests share. Any float dtype in, float64 out."""

import torch
from torch import Tensor

from pararnn_core.weights.quantized_matrix import QuantizedMatrix, value_range

LENGTHS = (0, 1, 2, 63, 0, 64, 65, 5)
CHANNELS = (1, 3, 17, 64, 100, 384)
STATES = {"gru": 1, "lstm": 2, "nlru": 1, "mingru": 1}


def cu_seqlens(lengths: tuple[int, ...] | list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def random_quantized(
    generator: torch.Generator, outputs: int, inputs: int, bits: int, group_size: int
) -> QuantizedMatrix:
    low, high = value_range(bits)
    values = torch.randint(low, high + 1, (outputs, inputs), generator=generator)
    scales = normal(generator, outputs, -(-inputs // group_size), scale=0.01).bfloat16()
    return QuantizedMatrix.from_values(values, scales, bits, group_size)


def step(cell: str, h: Tensor, bx: Tensor, a: Tensor, c: Tensor | None) -> Tensor:
    """h: (N, D); bx: (G, D). Returns (N, D)."""
    if cell == "nlru":
        gate = torch.sigmoid(bx[0])
        return (gate * h[0] + (1 - gate) * torch.tanh(a[0] * h[0] + bx[1]))[None]
    if cell == "mingru":
        z = torch.sigmoid(bx[0])
        return ((1 - z) * h[0] + z * bx[1])[None]
    if c is None:
        assert cell == "gru"
        z, r = (torch.sigmoid(a[i] * h[0] + bx[i]) for i in (0, 1))
        n = torch.tanh(a[2] * (h[0] * r) + bx[2])
        return ((1 - z) * h[0] + z * n)[None]
    memory, out = h
    f = torch.sigmoid(a[0] * out + c[0] * memory + bx[0])
    g = torch.tanh(a[2] * out + bx[2])
    memory = f * memory + (1 - f) * g
    o = torch.sigmoid(a[1] * out + c[1] * memory + bx[1])
    return torch.stack([memory, o * torch.tanh(memory)])


def recurrence(
    cell: str, bx: Tensor, a: Tensor, c: Tensor | None, initial_state: Tensor, lengths: tuple[int, ...]
) -> Tensor:
    """States (T, N, D), differentiable."""
    bx, a, initial_state = bx.double(), a.double(), initial_state.double()
    c = None if c is None else c.double()
    states, t = [], 0
    for s, length in enumerate(lengths):
        h = initial_state[s]
        for _ in range(length):
            h = step(cell, h, bx[t], a, c)
            states.append(h)
            t += 1
    return torch.stack(states) if states else initial_state.new_empty(0, *initial_state.shape[1:])


def causal_conv1d(v: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """One sequence. v: (T, D); past: (K-1, D), oldest first. Returns (T, D)."""
    rows = torch.cat([past, v]).double()
    width = weight.shape[1]
    taps = [rows[k : k + v.shape[0]] * weight[:, k].double() for k in range(width)]
    out = torch.stack(taps).sum(0)
    out = out if bias is None else out + bias.double()
    return torch.nn.functional.silu(out) if activation == "silu" else out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.double()
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + eps) * weight.double()


def relative_error(got: Tensor, want: Tensor) -> float:
    """Largest difference in units of the largest value; infinite if anything is NaN."""
    if got.numel() == 0:
        return 0.0
    error = (got.double() - want).abs().max() / want.abs().max().clamp_min(1e-30)
    return float(error) if not torch.isnan(error) else float("inf")
