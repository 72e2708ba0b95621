"""Rows on threads of their own: same bits, and torch's settings as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from pararnn_core.models.pararnn.quantization_config import MatrixFormat
from pararnn_core.quantize.quantize_gptq import compensate_matrix
from pararnn_core.quantize.quantize_round import ROWS, group_scales, round_matrix
from pararnn_core.quantize.torch_threads import map_in_threads


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_operation_has_one_thread_and_the_caller_its_own_again(threads: int) -> None:
    torch.set_num_threads(threads)
    meeting = threading.Barrier(min(threads, 4))

    def inside(part: int) -> tuple[int, bool]:
        meeting.wait(timeout=20)
        return torch.get_num_threads(), torch.is_grad_enabled()

    with torch.no_grad():
        assert map_in_threads(inside, range(threads)) == [(1, False)] * threads
    assert torch.get_num_threads() == threads


def test_an_error_leaves_the_threads_as_they_were() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda part: 1 // part, [1, 0, 1])
    assert torch.get_num_threads() == 2


def test_rounding_has_the_same_bits_with_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, its = torch.randn(2 * ROWS + 3, 32, generator=generator), MatrixFormat(4, 16)
    inputs = torch.randn(64, 32, generator=generator).double()
    hessian = (inputs.T @ inputs)[None]
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made = (round_matrix(weight, its), compensate_matrix(weight, hessian, its))
        results.append([tensor for each in made for tensor in (each.qweight, each.scales)])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_blocks_of_rows_round_as_the_rows_alone() -> None:
    weight, its = torch.randn(ROWS + 5, 32), MatrixFormat(4, 16)
    assert torch.equal(group_scales(weight, its)[ROWS:], group_scales(weight[ROWS:], its))
