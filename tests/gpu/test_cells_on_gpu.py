"""The cells on a CUDA device give what they give on a CPU."""

import pytest
import torch

from pararnn_core.cells import Cell, ParaGRU, ParaLSTM
from tests.core.cells.user_cells import USER_CELLS

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


@pytest.mark.parametrize(
    ("cls", "mode"),
    [
        *((cls, mode) for cls in (ParaGRU, ParaLSTM) for mode in ("parallel_cuda", "parallel_fused", "auto")),
        *((cls, "parallel_cuda") for cls in USER_CELLS),
    ],
)
def test_kernels_give_states_and_gradients_of_a_cpu(cls: type[Cell], mode: str) -> None:
    cell = cls(16, 24, 2)
    cu_seqlens = torch.tensor([0, 1, 1, 300, 700], dtype=torch.int32)
    inputs = (torch.randn(700, 16), torch.randn(4, cell.num_states, 24))
    weight = torch.randn(700, 24)

    def solve(device: str, how: str) -> list[torch.Tensor]:
        moved = cell.to(device)
        x, initial_state = (tensor.to(device).requires_grad_() for tensor in inputs)
        y, final_state = moved(x, initial_state, cu_seqlens.to(device), how)
        loss = (y * weight.to(device)).sum() + final_state.sum()
        gradients = torch.autograd.grad(loss, (x, initial_state, *moved.parameters()))
        return [tensor.detach().cpu() for tensor in (y, final_state, *gradients)]

    expected = solve("cpu", "sequential")
    results = solve("cuda", mode)
    if mode != "auto":
        assert cell.last_solve is not None
        assert cell.last_solve.converged
        assert 0 < cell.last_solve.iterations <= 8
    for result, wanted in zip(results, expected, strict=True):
        bound = 1e-4 * max(1.0, float(wanted.abs().max()))
        torch.testing.assert_close(result, wanted, rtol=0, atol=bound)
