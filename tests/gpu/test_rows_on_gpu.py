"""The kernels between a layer's products give what torch gives on the same device."""

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.device.rows import TorchRows

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]

TORCH = TorchRows()
EPS = 1e-5
TYPES = (torch.float32, torch.bfloat16)
# Whole packs, a row that no pack fits, one wider than a block holds in registers.
every_width = pytest.mark.parametrize("width", [64, 77, 4100])
every_type = pytest.mark.parametrize("dtype", TYPES, ids=str)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, device="cuda").to(dtype)


def poison() -> None:
    """Fill the allocator's free blocks, small and large, with NaN."""
    for_reuse = [torch.full((1 << 16,), torch.nan, device="cuda") for _ in range(32)]
    for_reuse.append(torch.full((1 << 22,), torch.nan, device="cuda"))


def assert_close(result: Tensor, expected: Tensor) -> None:
    """Compare to about a unit in the last place of the result's type."""
    tolerance = 1e-5 if result.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


@every_width
@every_type
@pytest.mark.parametrize("kind", ["norm", "add", "scaled", "replace"])
def test_stream_and_its_norm(kind: str, dtype: torch.dtype, width: int) -> None:
    x, weight = numbers(9, width), numbers(width)
    update = None if kind == "norm" else numbers(9, width, dtype=dtype)
    scale = numbers(1) if kind == "scaled" else None
    expected_x = x.clone()
    expected = TORCH.add_rms_norm_(expected_x, update, scale, weight, EPS, dtype, kind == "replace")
    poison()
    result = ops.add_rms_norm_(x, update, scale, weight, EPS, dtype, kind == "replace")
    assert_close(x, expected_x)
    assert_close(result, expected)


@every_width
@every_type
@pytest.mark.parametrize("order", ["gate_then_norm", "norm_then_gate"])
def test_gated_norm(order: str, dtype: torch.dtype, width: int) -> None:
    y, gate, weight = numbers(9, width), numbers(9, 2 * width, dtype=dtype)[:, width:], numbers(width)
    expected = TORCH.gated_rms_norm(y, gate, weight, EPS, order)
    poison()
    assert_close(ops.gated_rms_norm(y, gate, weight, EPS, order), expected)


@every_width
@every_type
def test_product_of_the_mlp(dtype: torch.dtype, width: int) -> None:
    gate, up = numbers(9, width, dtype=dtype), numbers(9, width, dtype=dtype)
    poison()
    assert_close(ops.silu_mul(gate, up), TORCH.silu_mul(gate, up))


@pytest.mark.parametrize("lengths", [(1, 2, 3, 4, 9, 1), (700, 1, 5, 2, 33, 1), (1, 1, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("state_dtype", TYPES, ids=str)
@every_type
@pytest.mark.parametrize(
    ("width", "channels", "activation"), [(4, 64, "silu"), (2, 77, "none"), (7, 600, "silu")]
)
def test_convolution_and_its_tails(
    width: int,
    channels: int,
    activation: str,
    dtype: torch.dtype,
    state_dtype: torch.dtype,
    lengths: tuple[int, ...],
) -> None:
    v = numbers(sum(lengths), 2 * channels, dtype=dtype)[:, :channels]
    weight, bias = numbers(width, channels).T, numbers(channels)
    bounds = torch.tensor((0, *lengths), device="cuda").cumsum(0).int()
    slots = torch.tensor((4, 0, -1, 6, 2, 1), device="cuda").int()
    held = torch.tensor((True, False, True, True, False, True), device="cuda")
    pool = numbers(7, width - 1, channels, dtype=state_dtype)
    expected_pool = pool.clone()
    given = (weight, bias, activation, bounds, slots, held)
    expected = TORCH.causal_conv1d_(v, *given, expected_pool)
    poison()
    assert_close(ops.causal_conv1d_(v, *given, pool), expected)
    assert torch.equal(pool, expected_pool)


@every_type
def test_row_has_the_same_bits_beside_others(dtype: torch.dtype) -> None:
    x, gate, weight = numbers(200, 64), numbers(200, 64, dtype=dtype), numbers(64)
    normed = ops.add_rms_norm_(x.clone(), gate, None, weight, EPS, dtype)
    gated = ops.gated_rms_norm(x, gate, weight, EPS, "gate_then_norm")
    for row in (0, 77, 199):
        own = slice(row, row + 1)
        alone = ops.add_rms_norm_(x[own].clone(), gate[own].clone(), None, weight, EPS, dtype)
        assert torch.equal(normed[own], alone)
        assert torch.equal(gated[own], ops.gated_rms_norm(x[own], gate[own], weight, EPS, "gate_then_norm"))


def test_operations_are_captured_in_a_graph_and_run_again_on_what_their_inputs_hold() -> None:
    x, update, weight = numbers(3, 64), numbers(3, 64, dtype=torch.bfloat16), numbers(64)
    ops.add_rms_norm_(x.clone(), update, None, weight, EPS, torch.bfloat16)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        normed = ops.add_rms_norm_(x, update, None, weight, EPS, torch.bfloat16)
        inner = ops.silu_mul(normed, update)
    x.copy_(numbers(3, 64))
    expected = TORCH.add_rms_norm_(x.clone(), update, None, weight, EPS, torch.bfloat16)
    graph.replay()
    assert_close(normed, expected)
    assert_close(inner, TORCH.silu_mul(normed, update))
