"""The limits are honest: what counts as read was read, what counts as multiplied was multiplied."""

import time

import numpy as np
import pytest
import torch

from pararnn_core import ops

STREAMS, LINE = 4, 64
# Multiply-adds of one vector instruction.
PRODUCTS = {
    "baseline": {"float32": 4, "int8": 8},
    "avx2": {"float32": 8, "int8": 32},
    "avx512": {"float32": 16, "int8": 64},
    "avx512vnni": {"float32": 16, "int8": 64},
}
ACCUMULATORS = 8
MOST_VECTORS_PER_SECOND = 8 * 6e9
"""More than any core does: eight a cycle at 6 GHz."""


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("passes", [1, 2, 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_line_of_every_stream_of_every_thread_is_read(
    threads: int, passes: int, generator: torch.Generator
) -> None:
    size = 7 * STREAMS * LINE * threads
    data = torch.randint(256, (size,), generator=generator, dtype=torch.uint8)
    ops.set_num_threads(threads)
    expected = int(data.numpy().view(np.uint32).sum(dtype=np.uint64)) * passes % 2**32
    assert ops.read_bytes(data, passes) == expected


@pytest.mark.usefixtures("restored_threads")
def test_nothing_beyond_the_end_is_read(generator: torch.Generator) -> None:
    size = 3 * STREAMS * LINE
    data = torch.randint(256, (2 * size,), generator=generator, dtype=torch.uint8)
    ops.set_num_threads(1)
    whole = ops.read_bytes(data[:size].clone(), 1)
    assert ops.read_bytes(data[: size + 100], 1) == whole
    assert ops.read_bytes(data[: STREAMS * LINE - 1], 1) == 0


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("unit", ["float32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_multiply_adds_are_counted_by_thread_and_round(unit: str, threads: int) -> None:
    ops.set_num_threads(threads)
    per_round = ops.multiply_add(unit, 1)
    products = PRODUCTS.get(ops.isa_level(), {}).get(unit)
    assert products is None or per_round == threads * ACCUMULATORS * products
    assert ops.multiply_add(unit, 1000) == 1000 * per_round


@pytest.mark.parametrize("unit", ["float32", "int8"])
def test_multiply_adds_are_really_done(unit: str) -> None:
    rounds = 2_000_000
    ops.multiply_add(unit, rounds)
    start = time.perf_counter()
    ops.multiply_add(unit, rounds)
    assert time.perf_counter() - start > rounds * ACCUMULATORS / MOST_VECTORS_PER_SECOND


def test_what_cannot_be_measured_is_one_error_that_names_the_argument() -> None:
    with pytest.raises(RuntimeError, match="data: expected"):
        ops.read_bytes(torch.zeros(4), 1)
    with pytest.raises(RuntimeError, match="passes: expected 1"):
        ops.read_bytes(torch.zeros(4, dtype=torch.uint8), 0)
    with pytest.raises(RuntimeError, match="rounds: expected 1"):
        ops.multiply_add("int8", 0)
    with pytest.raises(RuntimeError, match="unit: expected"):
        ops.multiply_add("float16", 1)
