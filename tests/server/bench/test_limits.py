from __future__ import annotations

from collections.abc import Iterator

import pytest
from pararnn_server.bench.limits import Multiplier, ReadBuffer, read_bandwidth
from pararnn_server.bench.timing import Spread

from pararnn_core import ops


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = ops.num_threads()
    ops.set_num_threads(request.param)
    yield request.param
    ops.set_num_threads(before)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20, (8 << 20) - 5])
def test_a_reader_reads_at_least_as_much_as_it_is_held_against(size: int, threads: int) -> None:
    reader = ReadBuffer(8 << 20).reader(size)
    passes, rest = divmod(reader.bytes_per_repetition, -(-size // (256 * threads)) * 256 * threads)
    assert rest == 0
    assert passes >= 1
    assert reader.bytes_per_repetition >= 128 << 20
    assert reader.repeat() > 0


def test_a_readers_rate_is_its_bytes_over_its_seconds() -> None:
    reader = ReadBuffer(1 << 20).reader(1 << 20)
    rate = reader.rate(Spread(2.0, 1.0, 4.0, 3))
    assert rate == Spread(*(reader.bytes_per_repetition / each for each in (2.0, 4.0, 1.0)), 3)


@pytest.mark.parametrize("unit", ["float32", "int8"])
def test_a_multipliers_operations_are_two_for_each_multiply_add(unit: str) -> None:
    multiplier = Multiplier(unit)
    assert multiplier.repeat() > 0
    assert multiplier.operations % 2 == 0
    assert multiplier.rate(Spread(0.5, 0.5, 0.5, 1)).median == 2 * multiplier.operations


def test_read_bandwidth_lies_between_a_disk_and_a_cache() -> None:
    assert 1e8 < read_bandwidth(64 << 20).median < 1e13
