"""Integer weights, packed: exact packing, the arithmetic of the reference, the same bits in every batch."""

import pytest
import torch

from pararnn_core import ops
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.kernels.reference import normal, random_quantized, relative_error

BITS = (8, 4)
# outputs, inputs, group size
SHAPES = (
    (1, 1, 16),
    (16, 16, 16),
    (17, 33, 16),
    (70, 300, 32),
    (48, 257, 128),
    (33, 1100, 1024),
    (130, 64, 48),
    (5, 1023, 144),
)
ROWS = (1, 2, 3, 4, 5, 7, 8, 17, 41, 70)
# heads, gates, inputs, outputs, group size
BLOCKS = (
    (1, 3, 5, 3, 16),
    (2, 3, 48, 16, 32),
    (4, 3, 130, 17, 64),
    (3, 1, 70, 15, 1024),
    (1, 2, 40, 100, 16),
)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("outputs", "inputs", "group_size"), SHAPES)
def test_unpack_gives_back_every_bit(
    generator: torch.Generator, bits: int, outputs: int, inputs: int, group_size: int
) -> None:
    weight = random_quantized(generator, outputs, inputs, bits, group_size)
    unpacked = ops.unpack(ops.pack(weight))
    assert isinstance(unpacked, QuantizedMatrix)
    assert torch.equal(unpacked.qweight, weight.qweight)
    assert torch.equal(unpacked.scales.view(torch.int16), weight.scales.view(torch.int16))
    assert (unpacked.bits, unpacked.group_size, unpacked.in_features) == (bits, group_size, inputs)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("outputs", "inputs", "group_size"), SHAPES)
def test_linear_is_that_of_the_reference(
    generator: torch.Generator, bits: int, outputs: int, inputs: int, group_size: int
) -> None:
    """The sums of a group are exact on both sides: what differs is one rounding per group, fused or not."""
    weight = random_quantized(generator, outputs, inputs, bits, group_size)
    packed, groups = ops.pack(weight), -(-inputs // group_size)
    for rows in ROWS:
        x = normal(generator, rows, inputs) * torch.logspace(-3, 3, rows)[:, None]
        got, want = ops.linear(x, packed), weight.reference_linear(x)
        errors = (got - want).abs().amax(1) / want.abs().amax(1).clamp_min(1e-30)
        assert bool((errors <= (groups + 1) * 2**-23 * 8).all()), (rows, errors)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("heads", "gates", "inputs", "outputs", "group_size"), BLOCKS)
def test_block_linear_is_that_of_the_reference(
    generator: torch.Generator, bits: int, heads: int, gates: int, inputs: int, outputs: int, group_size: int
) -> None:
    weight = random_quantized(generator, heads * gates * outputs, inputs, bits, group_size)
    bias = normal(generator, gates, heads * outputs)
    x = normal(generator, 29, heads * inputs)
    by_head = weight.reference_linear(x, heads).view(29, heads, gates, outputs)
    want = by_head.transpose(1, 2).reshape(29, gates, -1) + bias
    got = ops.linear(x, ops.pack(weight, heads, gates), bias).view(29, gates, -1)
    assert relative_error(got, want.double()) < 1e-6


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("outputs", "inputs", "group_size"), [(83, 300, 128), (160, 64, 16), (16, 768, 32)])
def test_rows_do_not_change_bits(
    generator: torch.Generator, bits: int, outputs: int, inputs: int, group_size: int
) -> None:
    packed = ops.pack(random_quantized(generator, outputs, inputs, bits, group_size))
    x = normal(generator, 600, inputs)
    whole = ops.linear(x, packed)
    for rows in (*range(1, 71), 511, 512, 513):
        assert torch.equal(ops.linear(x[:rows], packed), whole[:rows]), rows
    shuffled = torch.randperm(600, generator=generator)
    assert torch.equal(ops.linear(x[shuffled], packed), whole[shuffled])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_values_overflow_nothing(bits: int, sign: int) -> None:
    value = 127 if bits == 8 else -8
    weight = QuantizedMatrix.from_values(
        torch.full((20, 1024), value), torch.ones(20, 1).bfloat16(), bits, 1024
    )
    got = ops.linear(torch.full((3, 1024), sign * 1.0), ops.pack(weight))
    assert torch.equal(got, torch.full((3, 20), value * 127 * 1024.0 * sign * torch.tensor(1 / 127).item()))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_gives_nan_and_its_neighbours_stay_clean(
    generator: torch.Generator, bits: int, value: float
) -> None:
    packed = ops.pack(random_quantized(generator, 33, 70, bits, 32))
    x = normal(generator, 13, 70)
    clean = ops.linear(x, packed)
    x[5, 40] = value
    dirty = ops.linear(x, packed)
    assert dirty[5].isnan().all()
    dirty[5] = clean[5]
    assert torch.equal(dirty, clean)


@pytest.mark.parametrize("bits", BITS)
def test_zeros_and_the_smallest_numbers_give_zeros(generator: torch.Generator, bits: int) -> None:
    packed = ops.pack(random_quantized(generator, 33, 70, bits, 32))
    x = torch.zeros(3, 70)
    x[1] = 1e-40
    x[2] = 1e-37
    assert torch.equal(ops.linear(x, packed), torch.zeros(3, 33))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("width", [1, 17, 64, 100])
def test_embedding_is_the_dequantised_row(generator: torch.Generator, bits: int, width: int) -> None:
    weight = random_quantized(generator, 50, width, bits, 32)
    tokens = torch.randint(0, 50, (77,), generator=generator)
    assert torch.equal(ops.embedding(tokens, ops.pack(weight)), weight.dequantize()[tokens])
