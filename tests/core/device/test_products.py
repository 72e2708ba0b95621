"""The choice between a device's products, and equality of their results."""

import pytest
import torch
from torch import Tensor, nn

from pararnn_core import ops
from pararnn_core.device import matrix, products
from pararnn_core.device.matrix import DeviceMatrix
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.core.batches import run_alone
from tests.core.device.models import on_device
from tests.core.device.stub_kernels import StubKernels
from tests.quantized_fixtures import float_twin, tiny_quantized_model

ROUNDING = 2**-8
"""Relative tolerance of a result in bfloat16."""
OF_WEIGHTS = 0.08
"""Tolerance of sums of 64 terms of a few units, whose dequantised weights are rounded to bfloat16 too."""


def quantized(outputs: int, inputs: int, bits: int = 8, group_size: int = 32) -> QuantizedMatrix:
    return round_matrix(torch.randn(outputs, inputs), MatrixFormat(bits, group_size))


def rows(count: int, width: int) -> Tensor:
    return torch.randn(count, width).bfloat16()


def assert_close(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result.float(), expected.float(), rtol=ROUNDING, atol=OF_WEIGHTS)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("count", "way"), [(1, "row_product"), (64, "row_product"), (65, "dequantize")])
def test_few_rows_read_a_quantised_matrix_in_place_and_more_dequantise_it(
    bits: int, count: int, way: str
) -> None:
    weight, kernels = quantized(70, 64, bits), StubKernels()
    x = rows(count, 64)
    out = DeviceMatrix(weight, kernels=kernels).product(x)
    assert [name for name, _ in kernels.calls] == [way]
    assert out.dtype == torch.bfloat16
    assert_close(out, x.float() @ weight.dequantize().T)


@pytest.mark.parametrize("count", [3, 65])
def test_a_wide_product_is_not_rounded(count: int) -> None:
    weight, x = quantized(70, 64), rows(count, 64)
    out = DeviceMatrix(weight, kernels=StubKernels()).product(x, torch.float32)
    assert out.dtype == torch.float32
    assert not torch.equal(out, out.bfloat16().float())
    assert_close(out, x.float() @ weight.dequantize().T)


@pytest.mark.parametrize("count", [3, 65])
def test_heads_see_their_own_inputs_and_gates_lie_apart(count: int) -> None:
    heads, gates, inputs, outputs = 2, 3, 32, 5
    weight, x = quantized(heads * gates * outputs, inputs), rows(count, heads * inputs)
    out = DeviceMatrix(weight, heads, gates, StubKernels()).product_by_head(x)
    blocks = weight.dequantize().view(heads, gates, outputs, inputs)
    by_head = x.float().view(count, heads, inputs)
    for head in range(heads):
        expected = torch.einsum("ti,goi->tgo", by_head[:, head], blocks[head])
        assert_close(out[..., head * outputs : (head + 1) * outputs], expected)


def test_blocks_of_rows_are_dequantised_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BLOCK_WEIGHTS", 64 * 32)
    weight, x, kernels = quantized(70, 64), rows(65, 64), StubKernels()
    out = DeviceMatrix(weight, kernels=kernels).product(x)
    assert kernels.calls == [("dequantize", 32), ("dequantize", 32), ("dequantize", 6)]
    assert_close(out, x.float() @ weight.dequantize().T)


def test_rows_of_an_embedding_are_exact() -> None:
    weight, kernels, tokens = quantized(70, 64, 4), StubKernels(), torch.tensor([69, 0, 0, 3])
    found = DeviceMatrix(weight, kernels=kernels).rows(tokens)
    assert torch.equal(found, weight.dequantize()[tokens])
    assert kernels.calls == [("dequantize", 4)]


def test_bfloat16_matrices_are_torchs_until_a_measurement_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, x, kernels = nn.Parameter(torch.randn(70, 64).bfloat16()), rows(8, 64), StubKernels()
    device = DeviceMatrix(weight, kernels=kernels)
    by_torch = device.product(x)
    assert kernels.calls == []
    monkeypatch.setitem(products.MOST_ROWS, 16, 8)
    assert_close(device.product(x), by_torch)
    assert kernels.calls == [("row_product", 8)]
    device.product(rows(9, 64))
    assert kernels.calls == [("row_product", 8)]


@pytest.mark.parametrize(
    ("bits", "group_size", "inputs", "taken"),
    [
        (8, 16, 32, True),
        (8, 48, 96, True),
        (8, 1024, 64, True),
        (4, 32, 96, True),
        (4, 96, 160, True),
        (4, 16, 64, False),
        (4, 48, 96, False),
        (8, 32, 48, False),
        (4, 32, 33, False),
    ],
)
def test_kernels_take_inputs_and_4_bit_groups_of_multiples_of_32(
    bits: int, group_size: int, inputs: int, taken: bool
) -> None:
    assert ops.takes_integers(bits, group_size, inputs) is taken


def test_float_kernels_take_row_major_bfloat16_alone() -> None:
    assert ops.takes_floats(torch.empty(5, 64, dtype=torch.bfloat16))
    assert not ops.takes_floats(torch.empty(5, 64))
    assert not ops.takes_floats(torch.empty(5, 48, dtype=torch.bfloat16))
    assert not ops.takes_floats(torch.empty(2, 32, 3, 8, dtype=torch.bfloat16))


def test_a_cpu_has_no_kernels_for_a_matrix_in_place() -> None:
    assert products.kernels_for(quantized(70, 64)) is None
    assert DeviceMatrix(quantized(70, 64)).narrow == torch.float32


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("count", [9, 70])
def test_a_model_by_the_kernels_gives_the_logits_of_its_dequantised_twin(
    cell: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = StubKernels()
    monkeypatch.setattr(matrix, "kernels_for", lambda weight: kernels)
    over = {"hidden_size": 64, "num_heads": 2, "intermediate_size": 96}
    model = tiny_quantized_model(cell, QuantizationConfig("round", 4, 32), **over)
    tokens = [7 * i % model.config.vocab_size for i in range(count)]
    expected, _ = run_alone(float_twin(model).pack(), tokens)
    logits, _ = run_alone(on_device(model), tokens)
    assert {name for name, _ in kernels.calls} == {"dequantize"} | ({"row_product"} if count == 9 else set())
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.1)
