"""Rounding whose bits are the same everywhere, compared with plain Python numbers and with recorded bits."""

import hashlib
import random
import struct

import pytest
import torch
from torch import Tensor

from pararnn_core.assemble.portable_rounding import DIVISORS, GROUPS, REFINEMENTS, round_portably
from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.quantize_round import round_matrix
from pararnn_core.weights.quantized_matrix import value_range

FORMATS = [MatrixFormat(4, 32), MatrixFormat(8, 128)]
RECORDED = {
    MatrixFormat(4, 32): "a8296b617a232a2f514790866b916fe2ee3a3871e648e08c208be1a3a78b239f",
    MatrixFormat(8, 128): "6484518ea8ef16737ad913cb7cd63a7cda0056ae2575b775c7b785032860e529",
}


def weight(rows: int = 6, columns: int = 160, seed: int = 0) -> Tensor:
    """Python's generator and plain arithmetic: the same floats with any version of torch."""
    draw = random.Random(seed)
    values = [[draw.uniform(-1, 1) * draw.uniform(0, 1) for _ in range(columns)] for _ in range(rows)]
    values[1][:64] = [0.0] * 64
    values[2][0] = -3.0
    return torch.tensor(values)


def f32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def bf16(value: float) -> float:
    """The nearest bfloat16; of two, the one with an even last bit."""
    (bits,) = struct.unpack("I", struct.pack("f", value))
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return float(struct.unpack("f", struct.pack("I", bits))[0])


def plain_integers(group: list[float], scale: float, bits: int) -> list[int]:
    low, high = value_range(bits)
    return [max(low, min(high, round(f32(each / scale)))) if scale else 0 for each in group]


def plain_cost(group: list[float], scale: float, bits: int, costs: list[float]) -> float:
    total = 0.0
    for each, value, cost in zip(group, plain_integers(group, scale, bits), costs, strict=True):
        error = f32(f32(value * scale) - each)
        total = f32(total + f32(error * f32(error * cost)))
    return total


def plain_least_squares(group: list[float], scale: float, bits: int, costs: list[float]) -> float:
    products = squares = 0.0
    for each, value, cost in zip(group, plain_integers(group, scale, bits), costs, strict=True):
        weighted = f32(value * cost)
        products, squares = f32(products + f32(each * weighted)), f32(squares + f32(value * weighted))
    return f32(products / squares) if squares else scale


def plain_scale(group: list[float], bits: int, costs: list[float]) -> float:
    high, low = max(group), min(group)
    largest = high if high >= -low else low
    best, least = 0.0, plain_cost(group, 0.0, bits, costs)

    def consider(scale: float) -> None:
        nonlocal best, least
        narrow = bf16(f32(scale))
        cost = plain_cost(group, narrow, bits, costs)
        if cost < least:
            best, least = narrow, cost

    for divisor in DIVISORS[bits]:
        consider(largest / divisor)
    for _ in range(REFINEMENTS):
        consider(plain_least_squares(group, best, bits, costs))
    return best


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("each", FORMATS, ids=str)
def test_the_bits_are_those_of_plain_python(each: MatrixFormat, weighted: bool) -> None:
    rows = weight()
    importance = weight(seed=1)[0].square() if weighted else None
    matrix = round_portably([rows], each, importance)
    values, scales = matrix.values().tolist(), matrix.scales.float().tolist()
    for row, (its_values, its_scales) in enumerate(zip(values, scales, strict=True)):
        for k, scale in enumerate(its_scales):
            inputs = slice(k * each.group_size, (k + 1) * each.group_size)
            group = rows[row, inputs].tolist()
            costs = [1.0] * len(group) if importance is None else importance[inputs].tolist()
            assert scale == plain_scale(group, each.bits, costs)
            assert its_values[inputs] == plain_integers(group, scale, each.bits)


@pytest.mark.parametrize("each", FORMATS, ids=str)
def test_the_bits_are_those_that_were_recorded(each: MatrixFormat) -> None:
    matrix = round_portably([weight()], each)
    found = hashlib.sha256(matrix.qweight.numpy().tobytes())
    found.update(matrix.scales.view(torch.int16).numpy().tobytes())
    assert found.hexdigest() == RECORDED[each]


@pytest.mark.parametrize("threads", [1, 3])
def test_bits_depend_neither_on_threads_nor_on_pieces(threads: int) -> None:
    rows, before = weight(700, 160), torch.get_num_threads()
    expected = round_portably([rows], FORMATS[0])
    torch.set_num_threads(threads)
    try:
        found = round_portably(torch.split(rows, 33), FORMATS[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.qweight, expected.qweight)
    assert torch.equal(found.scales, expected.scales)


@pytest.mark.parametrize("each", FORMATS, ids=str)
def test_the_error_is_that_of_the_other_rounding(each: MatrixFormat) -> None:
    rows = torch.randn(64, 576, generator=torch.Generator().manual_seed(1))
    errors = [
        float((matrix.dequantize() - rows).norm())
        for matrix in (round_portably([rows], each), round_matrix(rows, each))
    ]
    assert errors[0] < 1.01 * errors[1]


def test_errors_at_important_inputs_are_smaller() -> None:
    rows = torch.randn(64, 576, generator=torch.Generator().manual_seed(1))
    importance = torch.where(torch.arange(576) % 32 == 5, 100.0, 1.0)
    each, weighted = (round_portably([rows], FORMATS[0], costs) for costs in (None, importance))
    errors = [((matrix.dequantize() - rows).square() * importance).sum() for matrix in (each, weighted)]
    assert errors[1] < 0.7 * errors[0]


def test_rows_of_all_pieces_have_the_same_importance() -> None:
    rows, importance = weight(600, 160), weight(seed=1)[0].square()
    whole = round_portably([torch.cat([rows] * 20)], FORMATS[0], importance)
    parts = round_portably([rows] * 20, FORMATS[0], importance)
    assert len(rows) * 20 * 5 > GROUPS
    assert torch.equal(whole.qweight, parts.qweight)


def test_a_group_of_zeros_has_the_scale_zero() -> None:
    matrix = round_portably([torch.zeros(2, 64)], FORMATS[0])
    assert not matrix.dequantize().any()
    assert matrix.scales.view(torch.int16).tolist() == [[0, 0], [0, 0]]
