"""Float weights, packed: exact packing, parity, and the same bits in every batch."""

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from tests.kernels.reference import normal, relative_error

DTYPES = (torch.float32, torch.bfloat16)
SHAPES = ((1, 1), (16, 1), (17, 33), (100, 300), (130, 64), (48, 257), (33, 600))
HEADS = ((1, 3, 5), (2, 8, 16), (4, 24, 17), (3, 70, 96))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_unpack_gives_back_every_bit(
    generator: torch.Generator, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    weight = normal(generator, outputs, inputs).to(dtype)
    weight[0, 0] = float("nan")
    weight[-1, -1] = -0.0
    unpacked = ops.unpack(ops.pack(weight))
    assert isinstance(unpacked, Tensor)
    assert unpacked.dtype == dtype
    assert torch.equal(unpacked.view(torch.uint8), weight.view(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_linear_matches_float64(
    generator: torch.Generator, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    weight, x = normal(generator, outputs, inputs).to(dtype), normal(generator, 41, inputs)
    got = ops.linear(x, ops.pack(weight))
    assert relative_error(got, x.double() @ weight.double().T) < 3e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("outputs", "inputs"), [(83, 300), (160, 64)])
def test_rows_do_not_change_bits(
    generator: torch.Generator, dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    packed = ops.pack(normal(generator, outputs, inputs).to(dtype))
    x = normal(generator, 600, inputs)
    whole = ops.linear(x, packed)
    for rows in (*range(1, 71), 511, 512, 513):
        assert torch.equal(ops.linear(x[:rows], packed), whole[:rows]), rows
    shuffled = torch.randperm(600, generator=generator)
    assert torch.equal(ops.linear(x[shuffled], packed), whole[shuffled])


def test_inputs_are_summed_in_index_order(generator: torch.Generator) -> None:
    """Terms that cancel in this order alone: 1e8, then small ones that are lost, then -1e8."""
    small = torch.full((1, 300), 1.0)
    small[0, 0], small[0, -1] = 1e8, -1e8
    for rows in (1, 7, 40):
        got = ops.linear(torch.ones(rows, 300), ops.pack(small))
        assert torch.equal(got, torch.zeros(rows, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "inputs", "outputs"), HEADS)
def test_block_linear_matches_float64(
    generator: torch.Generator, dtype: torch.dtype, heads: int, inputs: int, outputs: int
) -> None:
    weight, bias, packed = block_weight(generator, dtype, heads, inputs, outputs)
    unpacked = ops.unpack(packed)
    assert isinstance(unpacked, Tensor)
    assert torch.equal(unpacked, weight)
    x = normal(generator, 29, heads * inputs)
    want = torch.einsum("thi,higj->tghj", x.double().view(29, heads, inputs), weight.double())
    got = ops.linear(x, packed, bias).view(29, 3, -1)
    assert relative_error(got, want.reshape(29, 3, -1) + bias.double()) < 2e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_do_not_change_bits_of_block_linear(generator: torch.Generator, dtype: torch.dtype) -> None:
    _, bias, packed = block_weight(generator, dtype, 3, 300, 40)
    x = normal(generator, 70, 900)
    whole = ops.linear(x, packed, bias)
    for rows in range(1, 71):
        assert torch.equal(ops.linear(x[:rows], packed, bias), whole[:rows]), rows


def block_weight(
    generator: torch.Generator, dtype: torch.dtype, heads: int, inputs: int, outputs: int
) -> tuple[Tensor, Tensor, ops.PackedMatrix]:
    weight = normal(generator, heads, inputs, 3, outputs).to(dtype)
    bias = normal(generator, 3, heads * outputs)
    return weight, bias, ops.pack(weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_beside_a_nan_row_stay_clean(generator: torch.Generator, dtype: torch.dtype) -> None:
    packed = ops.pack(normal(generator, 33, 64).to(dtype))
    x = normal(generator, 13, 64)
    clean = ops.linear(x, packed)
    x[5] = float("nan")
    dirty = ops.linear(x, packed)
    assert dirty[5].isnan().all()
    dirty[5] = clean[5]
    assert torch.equal(dirty, clean)


def test_no_rows_give_no_rows(generator: torch.Generator) -> None:
    assert ops.linear(torch.empty(0, 8), ops.pack(normal(generator, 5, 8))).shape == (0, 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("width", [1, 17, 64, 100])
def test_embedding_widens_rows_exactly(
    generator: torch.Generator, dtype: torch.dtype, index: torch.dtype, width: int
) -> None:
    weight = normal(generator, 50, width).to(dtype)
    tokens = torch.randint(0, 50, (77,), generator=generator).to(index)
    assert torch.equal(ops.embedding(tokens, ops.pack(weight)), weight.float()[tokens.long()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_matrices_packed_one_after_the_other_are_one_of_two_gates(
    generator: torch.Generator, dtype: torch.dtype
) -> None:
    first, second = (normal(generator, 33, 21).to(dtype) for _ in range(2))
    one, other = ops.pack(first), ops.pack(second)
    both = one._replace(gates=2, data=torch.cat((one.data, other.data)))
    x = normal(generator, 5, 21)
    assert torch.equal(ops.linear(x, both), torch.cat((ops.linear(x, one), ops.linear(x, other)), dim=1))


def test_an_arena_starts_on_a_huge_page() -> None:
    arena = ops.huge_page_arena(3 << 20)
    assert arena.shape == (3 << 20,)
    assert arena.data_ptr() % (2 << 20) == 0
