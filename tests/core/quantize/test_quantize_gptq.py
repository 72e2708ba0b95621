import pytest
import torch
from torch import Tensor

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.quantize_calibration import sum_of_squares
from pararnn_core.quantize.quantize_gptq import compensate_matrix
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import QuantizedMatrix

FORMATS = [MatrixFormat(4, 32), MatrixFormat(4, 16), MatrixFormat(8, 32)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated_inputs(rows: int, inputs: int, seed: int = 1) -> Tensor:
    """A few directions hold most of it, as in a trained model."""
    mixing = draw(inputs, inputs, seed=seed) * torch.logspace(0, -2, inputs)[:, None]
    return draw(rows, inputs, seed=seed + 1) @ mixing


def same(a: QuantizedMatrix, b: QuantizedMatrix) -> bool:
    return torch.equal(a.qweight, b.qweight) and torch.equal(a.scales, b.scales)


def output_error(matrix: QuantizedMatrix, weight: Tensor, x: Tensor) -> float:
    return float((matrix.reference_linear(x) - x @ weight.T).square().sum())


@pytest.mark.parametrize("its", FORMATS, ids=str)
@pytest.mark.parametrize("inputs", [32, 100, 200])
def test_on_its_inputs_it_errs_less_than_plain_rounding(inputs: int, its: MatrixFormat) -> None:
    weight, x = draw(24, inputs), correlated_inputs(400, inputs)
    hessian = sum_of_squares([x], 1, its.group_size)
    compensated = output_error(compensate_matrix(weight, hessian, its), weight, x)
    # What rounding the activations costs is in both.
    assert compensated < (0.7 if its.bits == 4 else 0.99) * output_error(round_matrix(weight, its), weight, x)


@pytest.mark.parametrize("its", FORMATS, ids=str)
@pytest.mark.parametrize("inputs", [1, 17, 100, 300])
def test_where_all_inputs_are_independent_and_alike_it_is_plain_rounding(
    inputs: int, its: MatrixFormat
) -> None:
    weight = draw(6, inputs)
    hessian = torch.eye(inputs, dtype=torch.float64)[None]
    assert same(compensate_matrix(weight, hessian, its), round_matrix(weight, its))


def test_each_head_is_compensated_on_its_own_inputs() -> None:
    its, heads, inputs = MatrixFormat(4, 16), 3, 20
    weight, x = draw(heads * 6, inputs), correlated_inputs(200, heads * inputs)
    whole = compensate_matrix(weight, sum_of_squares([x], heads, 16), its)
    for head, (rows, its_x) in enumerate(zip(weight.chunk(heads), x.chunk(heads, dim=1), strict=True)):
        alone = compensate_matrix(rows, sum_of_squares([its_x], 1, 16), its)
        part = slice(head * 6, (head + 1) * 6)
        assert torch.equal(alone.qweight, whole.qweight[part])
        assert torch.equal(alone.scales, whole.scales[part])


def test_how_many_columns_share_a_product_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    its, weight, x = MatrixFormat(4, 32), draw(16, 200), correlated_inputs(400, 200)
    hessian = sum_of_squares([x], 1, 32)
    expected = compensate_matrix(weight, hessian, its).values()
    for columns in (1, 7, 1000):
        monkeypatch.setattr("pararnn_core.quantize.quantize_gptq._BLOCK", columns)
        values = compensate_matrix(weight, hessian, its).values()
        # Sums in another order may round a value in the middle differently, and then those after it.
        assert (values != expected).float().mean() < 0.02


def test_twice_the_same_is_the_same() -> None:
    its, weight, x = MatrixFormat(4, 32), draw(16, 200), correlated_inputs(50, 200)
    first, second = (compensate_matrix(weight, sum_of_squares([x], 1, 32), its) for _ in range(2))
    assert same(first, second)


def test_few_inputs_or_none_at_all_still_give_a_matrix() -> None:
    """Fewer rows than inputs: the sum of squares has no inverse of its own."""
    its, weight = MatrixFormat(4, 16), draw(8, 64)
    few = correlated_inputs(3, 64)
    assert output_error(compensate_matrix(weight, sum_of_squares([few], 1, 16), its), weight, few) < (
        output_error(round_matrix(weight, its), weight, few)
    )
    nothing = compensate_matrix(weight, torch.zeros(1, 64, 64, dtype=torch.float64), its)
    nothing.check_values()
    one_silent = correlated_inputs(100, 64)
    one_silent[:, 5] = 0
    matrix = compensate_matrix(weight, sum_of_squares([one_silent], 1, 16), its)
    matrix.check_values()
    assert (matrix.dequantize() - weight).abs().max() < 4 * weight.abs().max()


def test_what_fits_no_weight_is_refused() -> None:
    its = MatrixFormat(4, 16)
    with pytest.raises(ValueError, match="hessian: no"):
        compensate_matrix(draw(8, 64), torch.zeros(1, 32, 32, dtype=torch.float64), its)
    with pytest.raises(ValueError, match="hessian: no"):
        compensate_matrix(draw(8, 64), torch.zeros(3, 64, 64, dtype=torch.float64), its)
    with pytest.raises(ValueError, match="NaN"):
        compensate_matrix(draw(8, 64), torch.full((1, 64, 64), torch.nan, dtype=torch.float64), its)
