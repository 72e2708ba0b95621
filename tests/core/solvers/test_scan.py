"""Scans against the loop that defines them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pararnn_core.solvers.scan import affine_scan, apply_jacobian, compose, reverse_affine_scan, transpose

KINDS = [("block", 1, 5), ("block", 2, 5), ("block", 3, 4), ("dense", 1, 4), ("dense", 2, 3)]
LENGTHS = [1, 2, 3, 7, 8, 64, 101]


def draw(kind: str, states: int, channels: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    seed = torch.seed()
    print(f"seed {seed}")
    size = states * channels
    shape = (length, states, states, channels) if kind == "block" else (length, size, size)
    jacobian = torch.randn(shape, dtype=torch.float64) / shape[2] ** 0.5
    source = torch.randn(length, states, channels, dtype=torch.float64)
    return jacobian, source, torch.rand(length) < 0.2


def matrices(jacobian: Tensor) -> Tensor:
    """Any kind written out as (n, N*D, N*D)."""
    return (
        torch.diag_embed(jacobian).transpose(2, 3).flatten(3).flatten(1, 2)
        if jacobian.dim() == 4
        else jacobian
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("kind", "states", "channels"), KINDS)
def test_scan_equals_loop(kind: str, states: int, channels: int, length: int) -> None:
    jacobian, source, starts = draw(kind, states, channels, length)
    expected, full = [], matrices(jacobian)
    for t in range(length):
        h = source[t].flatten()
        if t > 0 and not starts[t]:
            h = h + full[t] @ expected[-1]
        expected.append(h)
    result = affine_scan(jacobian, source, starts).flatten(1)
    torch.testing.assert_close(result, torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("kind", "states", "channels"), KINDS)
def test_reverse_scan_equals_loop(kind: str, states: int, channels: int, length: int) -> None:
    jacobian, source, starts = draw(kind, states, channels, length)
    expected, full = [source[-1].flatten()], matrices(jacobian)
    for t in reversed(range(length - 1)):
        costate = source[t].flatten()
        if not starts[t + 1]:
            costate = costate + full[t + 1].T @ expected[-1]
        expected.append(costate)
    result = reverse_affine_scan(jacobian, source, starts).flatten(1)
    torch.testing.assert_close(result, torch.stack(expected[::-1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "states", "channels"), KINDS)
def test_operations_are_those_of_matrices(kind: str, states: int, channels: int) -> None:
    jacobian, source, _ = draw(kind, states, channels, 9)
    other = draw(kind, states, channels, 9)[0]
    full = matrices(jacobian)
    applied = (full @ source.flatten(1).unsqueeze(2)).view_as(source)
    torch.testing.assert_close(apply_jacobian(jacobian, source), applied)
    torch.testing.assert_close(matrices(compose(jacobian, other)), full @ matrices(other))
    torch.testing.assert_close(matrices(transpose(jacobian)), full.mT)


@pytest.mark.parametrize("scan", [affine_scan, reverse_affine_scan])
@pytest.mark.parametrize("poisoned", [0, 1, 2])
def test_nan_and_infinity_stay_in_their_sequence(scan: Callable[..., Tensor], poisoned: int) -> None:
    jacobian, source, _ = draw("block", 2, 3, 30)
    starts = torch.zeros(30, dtype=torch.bool)
    starts[[0, 10, 17]] = True
    clean = scan(jacobian, source, starts)
    rows = [slice(0, 10), slice(10, 17), slice(17, 30)][poisoned]
    jacobian[rows], source[rows] = torch.inf, torch.nan
    dirty = scan(jacobian, source, starts)
    assert dirty[rows].isnan().all()
    kept = torch.ones(30, dtype=torch.bool)
    kept[rows] = False
    assert torch.equal(dirty[kept], clean[kept])


def test_scan_of_nothing_is_nothing() -> None:
    jacobian, source, starts = draw("block", 2, 3, 0)
    assert affine_scan(jacobian, source, starts).shape == (0, 2, 3)
    assert reverse_affine_scan(jacobian, source, starts).shape == (0, 2, 3)
