import pytest
import torch
from torch import nn

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.quantize_calibration import (
    Calibration,
    batches,
    calibration_windows,
    rounding_inputs,
    sum_of_squares,
)
from pararnn_core.quantize.quantize_model import quantize_model
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import quantize_activations
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model
from tests.quantized_fixtures import MIXED

LENGTHS = [5, 700, 1, 0, 2000, 64]


def documents() -> list[list[int]]:
    """Each token is another number."""
    starts = [sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
    return [list(range(start, start + length)) for start, length in zip(starts, LENGTHS, strict=True)]


def test_a_text_that_fits_is_taken_whole_and_in_order() -> None:
    windows = calibration_windows(documents(), count=100, length=50)
    assert windows.shape == (sum(LENGTHS) // 50, 50)
    assert windows.flatten().tolist() == list(range(windows.numel()))


def test_of_a_longer_text_each_window_comes_once_and_from_anywhere() -> None:
    windows = calibration_windows(documents(), count=10, length=50)
    assert windows.shape == (10, 50)
    starts = windows[:, 0].tolist()
    assert len(set(starts)) == 10
    assert all(start % 50 == 0 for start in starts)
    assert max(starts) > 1500
    assert torch.equal(windows, windows[:, :1] + torch.arange(50))
    assert torch.equal(windows, calibration_windows(documents(), count=10, length=50))


def test_a_text_shorter_than_a_window_is_a_window() -> None:
    assert calibration_windows([[1, 2], [3]], length=50).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("empty", [[], [[]], [[], []]])
def test_an_empty_text_is_refused(empty: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="empty"):
        calibration_windows(empty)


def test_squares_are_those_of_the_rounded_rows_head_by_head() -> None:
    x = torch.randn(3, 7, 2 * 40, generator=torch.Generator().manual_seed(0))
    parts = x.view(-1, 2, 40)
    expected = torch.zeros(2, 40, 40, dtype=torch.float64)
    for head in range(2):
        for row in parts[:, head]:
            rounded = []
            for group in (row[:32], row[32:]):
                q, scale = quantize_activations(group[None])
                rounded.append((q * scale)[0].double())
            whole = torch.cat(rounded)
            expected[head] += torch.outer(whole, whole)
    got = sum_of_squares(x.split(1), heads=2, group_size=32)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="none"):
        sum_of_squares([], heads=1, group_size=32)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_inputs_are_those_of_the_quantised_layers_before(cell: str) -> None:
    model = quantize_model(tiny_model(cell), MIXED)
    tokens = torch.randint(TINY_VOCAB_SIZE, (5, 9), generator=torch.Generator().manual_seed(0))
    calibration = Calibration(tokens, model.embedding)
    first, second = model.blocks
    with torch.no_grad():
        stream = model.embedding(tokens)
        (u,) = calibration.inputs_of(first.in_proj, first)
        assert torch.equal(u, first.norm(stream))
        calibration.advance(first)
        stream = first(stream)
        (u,) = calibration.inputs_of(second.in_proj, second)
        assert torch.equal(u, second.norm(stream))
        v, g = second.in_proj(u).chunk(2, dim=-1)
        (v_conv,) = calibration.inputs_of(second.cell, second)
        assert torch.equal(v_conv, second.conv(v))
        y, _ = second.cell(v_conv)
        (gated,) = calibration.inputs_of(second.out_proj, second)
        assert torch.equal(gated, second.gate(y, g))


@pytest.mark.parametrize("heads", [1, 2])
def test_a_float_product_of_rounded_inputs_is_the_quantised_product(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = round_matrix(torch.randn(12, 40, generator=generator), MatrixFormat(4, 32))
    x = torch.randn(3, 5, heads * 40, generator=generator)

    class Product(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = zip(x.chunk(heads, dim=-1), matrix.dequantize().chunk(heads), strict=True)
            return torch.cat([part @ rows.T for part, rows in parts], dim=-1)

    module = Product()
    plain = module(x)
    with rounding_inputs(module, heads, matrix.group_size):
        torch.testing.assert_close(module(x), matrix.reference_linear(x, heads), rtol=1e-5, atol=1e-5)
    assert torch.equal(module(x), plain)
    assert not torch.allclose(plain, matrix.reference_linear(x, heads), rtol=1e-5, atol=1e-5)


def test_what_no_pass_reaches_is_refused() -> None:
    model = tiny_model()
    calibration = Calibration(torch.zeros(1, 4, dtype=torch.int64), model.embedding)
    with pytest.raises(ValueError, match="the forward pass does not call it"):
        list(calibration.inputs_of(model.lm_head, model.blocks[0]))


def test_windows_go_through_a_layer_a_few_at_a_time() -> None:
    sizes = [len(batch) for batch in batches(torch.zeros(20, 512))]
    assert sizes == [8, 8, 4]
    assert [len(batch) for batch in batches(torch.zeros(2, 5000))] == [1, 1]
