"""The cells on a CUDA device give what they give on a CPU."""

import pytest
import torch

from pararnn_core.cells import Cell, ParaGRU, ParaLSTM

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device: run `make gpu` where there is one"
    ),
]


@pytest.mark.parametrize("mode", ["sequential", "parallel", "auto"])
@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_cells_on_a_gpu_equal_cells_on_a_cpu(cls: type[Cell], mode: str) -> None:
    cell = cls(16, 24, 2).double()
    x = torch.randn(70, 16, dtype=torch.float64)
    initial_state = torch.randn(3, cell.num_states, 24, dtype=torch.float64)
    cu_seqlens = torch.tensor([0, 1, 30, 70], dtype=torch.int32)
    expected = cell(x, initial_state, cu_seqlens, "sequential")
    results = cell.cuda()(x.cuda(), initial_state.cuda(), cu_seqlens.cuda(), mode)
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result.cpu(), wanted, rtol=0, atol=1e-12)
