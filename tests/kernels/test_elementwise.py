"""Norms, gates and sums against float64, and the same bits for a row in any batch."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from pararnn_core import ops
from tests.kernels import reference
from tests.kernels.reference import normal, relative_error

WIDTHS = (1, 3, 17, 64, 100, 384, 1000)
EPS = 1e-6


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_matches_float64(generator: torch.Generator, width: int) -> None:
    x, weight = normal(generator, 23, width, scale=3.0), normal(generator, width)
    assert relative_error(ops.rms_norm(x, weight, EPS), reference.rms_norm(x, weight, EPS)) < 1e-6


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("order", ["gate_then_norm", "norm_then_gate"])
def test_gated_rms_norm_matches_float64(generator: torch.Generator, width: int, order: str) -> None:
    y, weight = normal(generator, 23, width), normal(generator, width)
    gate = normal(generator, 23, 2 * width, scale=3.0)[:, width:]
    got = ops.gated_rms_norm(y, gate, weight, EPS, order)
    if order == "gate_then_norm":
        want = reference.rms_norm(y.double() * silu(gate.double()), weight, EPS)
    else:
        want = reference.rms_norm(y, weight, EPS) * silu(gate.double())
    assert relative_error(got, want) < 1e-6


@pytest.mark.parametrize("width", WIDTHS)
def test_silu_mul_matches_float64(generator: torch.Generator, width: int) -> None:
    both = normal(generator, 23, 2 * width, scale=4.0)
    gate, up = both[:, :width], both[:, width:]
    assert relative_error(ops.silu_mul(gate, up), silu(gate.double()) * up.double()) < 1e-6


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scale", [None, 0.7])
def test_add_scaled_matches_float64(generator: torch.Generator, width: int, scale: float | None) -> None:
    x, y = normal(generator, 23, width), normal(generator, 23, width)
    factor = None if scale is None else torch.tensor([scale])
    want = x.double() * (1.0 if factor is None else factor.double()) + y.double()
    assert relative_error(ops.add_scaled(x, factor, y), want) < 1e-6


ROWWISE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "rms_norm": lambda x, y, w: ops.rms_norm(x, w, EPS),
    "gate_then_norm": lambda x, y, w: ops.gated_rms_norm(x, y, w, EPS, "gate_then_norm"),
    "norm_then_gate": lambda x, y, w: ops.gated_rms_norm(x, y, w, EPS, "norm_then_gate"),
    "silu_mul": lambda x, y, w: ops.silu_mul(x, y),
    "add_scaled": lambda x, y, w: ops.add_scaled(x, w[:1], y),
}


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("width", [3, 100, 384])
def test_rows_do_not_change_bits(generator: torch.Generator, name: str, width: int) -> None:
    x, y, weight = normal(generator, 130, width), normal(generator, 130, width), normal(generator, width)
    whole = ROWWISE[name](x, y, weight)
    for rows in (0, 1, 2, 7, 64, 129):
        assert torch.equal(ROWWISE[name](x[:rows], y[:rows], weight), whole[:rows])
    assert torch.equal(ROWWISE[name](x[77:78], y[77:78], weight), whole[77:78])


def test_norm_sums_blocks_of_64_in_index_order(generator: torch.Generator) -> None:
    x = normal(generator, 1, 64 * 5)
    sums = torch.zeros(64)
    for block in x[0].view(5, 64):
        square = (
            block.double().square() + sums.double() if fused() else (block * block).double() + sums.double()
        )
        sums = square.float()
    half = 64
    while half > 1:
        half //= 2
        sums = sums[:half] + sums[half : 2 * half]
    mean = sums / 320.0 + torch.tensor(EPS)
    # Torch's own float32 square root is not always the nearest float32.
    scale = 1.0 / torch.tensor(math.sqrt(mean.item()))
    assert torch.equal(ops.rms_norm(x, torch.ones(320), EPS), x * scale)


def fused() -> bool:
    return ops.isa_level() != "baseline"
