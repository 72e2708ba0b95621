"""The native sigmoid, tanh and SiLU, seen through operations that reduce to them."""

import pytest
import torch
from torch import Tensor

from pararnn_core import ops

MAX_ULP = 3.0
SMALLEST_NORMAL = torch.finfo(torch.float32).tiny
POINTS = {
    "wide": torch.linspace(-87, 87, 200_001),
    "middle": torch.linspace(-10, 10, 200_001),
    "near zero": torch.cat([torch.logspace(-30, 0, 50_000), -torch.logspace(-30, 0, 50_000)]),
    "special": torch.tensor([0.0, -0.0, 1e30, -1e30, float("inf"), float("-inf"), 104.5, -104.5, 3e38]),
}


def gru_step(update: Tensor, candidate: Tensor) -> Tensor:
    """sigmoid(update) * tanh(candidate): one step from a zero state."""
    channels = update.shape[0]
    bx = torch.stack([update, torch.zeros(channels), candidate])[None].contiguous()
    ends = torch.tensor([0, 1], dtype=torch.int32)
    return ops.recurrence("gru", bx, torch.zeros(3, channels), None, torch.zeros(1, 1, channels), ends)[0, 0]


def native(name: str, x: Tensor) -> Tensor:
    one = torch.full_like(x, 100.0)  # saturates: sigmoid and tanh of it are 1
    if name == "sigmoid":
        return gru_step(x, one)
    return gru_step(one, x) if name == "tanh" else ops.silu_mul(x[None], torch.ones_like(x)[None])[0]


def ulps(got: Tensor, want: Tensor) -> Tensor:
    near = want.float().abs()
    spacing = torch.nextafter(near, torch.tensor(float("inf"))) - near
    error = (got.double() - want).abs() / spacing.double()
    return error.where(near >= SMALLEST_NORMAL, ((got - want).abs() > SMALLEST_NORMAL).double() * 1e9)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize("points", POINTS)
def test_within_three_units_in_the_last_place(name: str, points: str) -> None:
    x = POINTS[points]
    got = native(name, x)
    assert not got.isnan().any()
    assert float(ulps(got, getattr(torch, name)(x.double())).max()) <= MAX_ULP


@pytest.mark.parametrize("points", ["wide", "middle", "near zero"])
def test_silu_within_four_units_in_the_last_place(points: str) -> None:
    x = POINTS[points]
    assert float(ulps(native("silu", x), torch.nn.functional.silu(x.double())).max()) <= MAX_ULP + 1


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu"])
def test_nan_goes_through(name: str) -> None:
    assert native(name, torch.tensor([1.0, float("nan"), 2.0])).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu"])
def test_a_value_does_not_depend_on_its_lane(name: str) -> None:
    x = torch.linspace(-8, 8, 100)
    whole = native(name, x)
    for width in (1, 2, 3, 5, 15, 16, 17, 63):
        assert torch.equal(torch.cat([native(name, part) for part in x.split(width)]), whole)
