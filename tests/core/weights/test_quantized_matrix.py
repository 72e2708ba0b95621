import pytest
import torch
from torch import Tensor

from pararnn_core.weights.quantized_matrix import (
    QuantizedMatrix,
    group_slices,
    pack_nibbles,
    quantize_activations,
    unpack_nibbles,
    value_range,
)

SIZES = [(1, 1, 16), (3, 16, 16), (5, 17, 16), (4, 100, 48), (7, 129, 128), (2, 64, 1024)]


def random_matrix(outputs: int, inputs: int, bits: int, group_size: int, seed: int = 0) -> QuantizedMatrix:
    generator = torch.Generator().manual_seed(seed)
    low, high = value_range(bits)
    values = torch.randint(low, high + 1, (outputs, inputs), generator=generator)
    groups = -(-inputs // group_size)
    scales = torch.randn(outputs, groups, generator=generator).to(torch.bfloat16)
    return QuantizedMatrix.from_values(values, scales, bits, group_size)


def product_in_python(matrix: QuantizedMatrix, x: Tensor) -> list[list[float]]:
    """The definition, number by number, in numbers that do not round."""
    values, scales = matrix.values().tolist(), matrix.scales.double().tolist()
    result = []
    for row in x:
        groups = list(group_slices(matrix.in_features, matrix.group_size))
        quantised = [quantize_activations(row[None, inputs]) for inputs in groups]
        outputs = []
        for weights, factors in zip(values, scales, strict=True):
            total = 0.0
            for inputs, (q, scale), factor in zip(groups, quantised, factors, strict=True):
                integers = [int(v) for v in q[0].tolist()]
                total += (
                    sum(w * a for w, a in zip(weights[inputs], integers, strict=True)) * factor * float(scale)
                )
            outputs.append(total)
        result.append(outputs)
    return result


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("outputs", "inputs", "group_size"), SIZES)
def test_the_product_is_the_definition(outputs: int, inputs: int, group_size: int, bits: int) -> None:
    matrix = random_matrix(outputs, inputs, bits, group_size)
    x = torch.randn(3, inputs, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor(product_in_python(matrix, x), dtype=torch.float64)
    groups = -(-inputs // group_size)
    size = torch.zeros_like(expected)
    for inputs_of, scales in zip(group_slices(inputs, group_size), matrix.scales.double().T, strict=True):
        q, scale = quantize_activations(x[:, inputs_of])
        size += (q.double().abs() @ matrix.values()[:, inputs_of].double().abs().T) * scales.abs() * scale
    # Three roundings of each term (scale, product, sum) and as many sums as groups.
    bound = (groups + 2) * 2.0**-23 * size
    assert ((matrix.reference_linear(x).double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_each_head_of_a_block_diagonal_weight_sees_its_own_inputs(bits: int) -> None:
    heads, outputs, inputs = 3, 5, 20
    blocks = [random_matrix(outputs, inputs, bits, 16, seed) for seed in range(heads)]
    joined = QuantizedMatrix(
        torch.cat([b.qweight for b in blocks]), torch.cat([b.scales for b in blocks]), bits, 16, inputs
    )
    x = torch.randn(2, 4, heads * inputs, generator=torch.Generator().manual_seed(1))
    expected = [b.reference_linear(part) for b, part in zip(blocks, x.chunk(heads, dim=-1), strict=True)]
    assert torch.equal(joined.reference_linear(x, heads), torch.cat(expected, dim=-1))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    matrix = random_matrix(9, 100, 4, 32)
    x = torch.randn(8, 100, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 8)[:, None]
    whole = matrix.reference_linear(x)
    assert all(torch.equal(matrix.reference_linear(x[i : i + 1])[0], whole[i]) for i in range(8))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("inputs", [1, 2, 15, 32, 33])
def test_values_and_weights_come_back_exactly(bits: int, inputs: int) -> None:
    matrix = random_matrix(6, inputs, bits, 16)
    again = QuantizedMatrix.from_values(matrix.values(), matrix.scales, bits, 16)
    assert torch.equal(again.qweight, matrix.qweight)
    scales = matrix.scales.double().repeat_interleave(16, dim=1)[:, :inputs]
    assert torch.equal(matrix.dequantize().double(), matrix.values().double() * scales)
    rows = torch.tensor([4, 0, 4])
    assert torch.equal(matrix.dequantize(rows), matrix.dequantize()[rows])


def test_even_inputs_are_in_the_low_nibbles() -> None:
    packed = pack_nibbles(torch.tensor([[-8, 7, 0]]))
    assert packed.tolist() == [[0xF0, 0x88]]
    assert unpack_nibbles(packed, 3).tolist() == [[-8, 7, 0]]


def test_activations_are_rounded_half_to_even_by_the_largest_of_the_group() -> None:
    q, scale = quantize_activations(torch.tensor([[127.0, 0.5, 1.5, 2.5, -2.5, -127.0], [0.0] * 6]))
    assert q.tolist() == [[127, 0, 2, 2, -2, -127], [0] * 6]
    assert scale.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_gives_no_number(value: float) -> None:
    x = torch.ones(2, 40)
    x[1, 37] = value
    result = random_matrix(3, 40, 8, 16).reference_linear(x)
    assert torch.isfinite(result[0]).all()
    assert torch.isnan(result[1]).all()


def test_activations_too_small_to_scale_give_zero() -> None:
    q, scale = quantize_activations(torch.tensor([[1e-38, -1e-42, 0.0], [1e-42, 0.0, 0.0]]))
    assert q.tolist() == [[0.0] * 3] * 2
    assert torch.isfinite(scale).all()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("bits", {"bits": 5}),
        ("bits", {"bits": True}),
        ("group_size", {"group_size": 24}),
        ("group_size", {"group_size": 0}),
        ("group_size", {"group_size": 2048}),
        ("scales", {"group_size": 32}),
        ("scales", {"scales": torch.zeros(3, 2)}),
        ("qweight", {"qweight": torch.zeros(3, 20, dtype=torch.uint8)}),
        ("qweight", {"in_features": 21}),
        ("qweight", {"bits": 4}),
    ],
)
def test_what_is_no_matrix_is_refused_by_name(field: str, change: dict[str, object]) -> None:
    whole = {
        "qweight": torch.zeros(3, 20, dtype=torch.int8),
        "scales": torch.zeros(3, 2, dtype=torch.bfloat16),
        "bits": 8,
        "group_size": 16,
        "in_features": 20,
    }
    QuantizedMatrix(**whole)  # type: ignore[arg-type]  # a mapping of mixed types
    with pytest.raises(ValueError, match=f"^{field} must be"):
        QuantizedMatrix(**{**whole, **change})  # type: ignore[arg-type]  # a mapping of mixed types


def test_values_that_no_matrix_holds_are_refused() -> None:
    matrix = random_matrix(3, 33, 8, 16)
    matrix.check_values()
    matrix.qweight[2, 5] = -128
    with pytest.raises(ValueError, match="-128"):
        matrix.check_values()
    nibbles = random_matrix(3, 33, 4, 16)
    nibbles.check_values()
    nibbles.qweight[1, -1] ^= 0x10
    with pytest.raises(ValueError, match="beyond the last input"):
        nibbles.check_values()
    scaled = random_matrix(3, 33, 4, 16)
    scaled.scales[1, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        scaled.check_values()
    with pytest.raises(ValueError, match=r"\[-8, 7\]"):
        QuantizedMatrix.from_values(torch.full((1, 16), 8), torch.zeros(1, 1).bfloat16(), 4, 16)


def test_a_gradient_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no gradient"):
        random_matrix(3, 16, 8, 16).reference_linear(torch.zeros(1, 16, requires_grad=True))
