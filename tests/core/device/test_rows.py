"""The row operations in torch, which the kernels are held against, are what the layers of a model say."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.device.rows import TorchRows

ROWS = TorchRows()
TYPES = (torch.float32, torch.bfloat16)
every_type = pytest.mark.parametrize("dtype", TYPES, ids=str)
SLOTS = (4, 0, -1, 6, 2)
FRESH = (False, True, False, False, True)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def int32(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


class Convolution:
    """Ragged sequences of `lengths` in SLOTS, of a pool whose every number is another."""

    def __init__(self, lengths: list[int], width: int, v_dtype: torch.dtype, dtype: torch.dtype) -> None:
        self.lengths = lengths
        self.bounds = int32([0, *torch.tensor(lengths).cumsum(0).tolist()])
        both = torch.randn(sum(lengths), 10).to(v_dtype)
        self.v = both[:, :5]
        self.weight, self.bias = torch.randn(5, width), torch.randn(5)
        self.pool = torch.randn(7, width - 1, 5).to(dtype)

    def run(self, pool: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        count = len(self.lengths)
        held = ~torch.tensor(FRESH[:count])
        sequences = (self.bounds, int32(SLOTS[:count]), held)
        return ROWS.causal_conv1d_(self.v, self.weight, bias, activation, *sequences, pool)

    def expected(self, sequence: int) -> tuple[Tensor, Tensor]:
        """Rows of that sequence, and its tail."""
        slot, width = SLOTS[sequence], self.weight.shape[1]
        past = torch.zeros_like(self.pool[slot]) if FRESH[sequence] else self.pool[slot]
        own = self.v[self.bounds[sequence] : self.bounds[sequence + 1]].to(self.pool.dtype)
        window = torch.cat((past, own))
        sums = F.conv1d(window.float().T[None], self.weight[:, None], self.bias, groups=5)[0].T
        return F.silu(sums), window[len(window) - (width - 1) :]


@pytest.mark.parametrize("state_dtype", TYPES, ids=str)
@every_type
@pytest.mark.parametrize("width", [1, 2, 4])
def test_convolution_goes_on_from_the_tail_and_leaves_the_next_one(
    width: int, dtype: torch.dtype, state_dtype: torch.dtype
) -> None:
    work = Convolution([1, 2, 3, 4, 9], width, dtype, state_dtype)
    pool = work.pool.clone()
    outputs = work.run(pool, work.bias, "silu").split(work.lengths)
    untouched = set(range(len(pool))) - set(SLOTS)
    for sequence, output in enumerate(outputs):
        assert output.dtype == dtype
        if SLOTS[sequence] < 0:
            assert not output.any()
            continue
        rows, tail = work.expected(sequence)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(output.float(), rows, rtol=tolerance, atol=tolerance)
        assert torch.equal(pool[SLOTS[sequence]], tail)
    for slot in untouched:
        assert torch.equal(pool[slot], work.pool[slot])


def test_convolution_without_bias_and_activation_is_the_plain_sum() -> None:
    work = Convolution([3], 2, torch.float32, torch.float32)
    out = work.run(work.pool.clone(), None, "none")
    window = torch.cat((work.pool[4], work.v))
    torch.testing.assert_close(out, window[:-1] * work.weight[:, 0] + window[1:] * work.weight[:, 1])


@every_type
@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("replaces", [False, True])
def test_sum_goes_into_the_stream_and_its_norm_comes_out(
    replaces: bool, scale: float | None, dtype: torch.dtype
) -> None:
    x, update, weight = torch.randn(4, 6), torch.randn(4, 6).to(dtype), torch.randn(6)
    factor = None if scale is None else torch.tensor([scale])
    summed = update.float() if replaces else (scale or 1.0) * x + update.float()
    normed = ROWS.add_rms_norm_(x, update, factor, weight, 1e-3, dtype, replaces)
    torch.testing.assert_close(x, summed)
    assert normed.dtype == dtype
    torch.testing.assert_close(normed, rms_norm(summed, weight, 1e-3).to(dtype), rtol=1e-2, atol=1e-5)


def test_norm_alone_leaves_the_stream() -> None:
    x, weight = torch.randn(4, 6), torch.randn(6)
    before = x.clone()
    normed = ROWS.add_rms_norm_(x, None, None, weight, 1e-3, torch.float32)
    assert torch.equal(x, before)
    torch.testing.assert_close(normed, rms_norm(x, weight, 1e-3))


@every_type
@pytest.mark.parametrize("order", ["gate_then_norm", "norm_then_gate"])
def test_gate_opens_before_or_after_the_norm(order: str, dtype: torch.dtype) -> None:
    y, weight, both = torch.randn(4, 6), torch.randn(6), torch.randn(4, 12).to(dtype)
    gate = both[:, 6:]
    opening = F.silu(gate.float())
    first = order == "gate_then_norm"
    wanted = rms_norm(y * opening, weight, 1e-3) if first else rms_norm(y, weight, 1e-3) * opening
    out = ROWS.gated_rms_norm(y, gate, weight, 1e-3, order)
    assert out.dtype == dtype
    torch.testing.assert_close(out, wanted.to(dtype), rtol=1e-2, atol=1e-5)


@every_type
def test_product_of_the_mlp_is_rounded_once(dtype: torch.dtype) -> None:
    gate, up = torch.randn(2, 4, 6).to(dtype)
    wanted = F.silu(gate.double()) * up.double()
    out = ROWS.silu_mul(gate, up)
    assert out.dtype == dtype
    torch.testing.assert_close(out, wanted.to(dtype))
