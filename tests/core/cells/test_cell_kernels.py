"""Cells through the CUDA kernels, run here with the references in the kernels' places."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pararnn_core import ops
from pararnn_core.cells import Cell, ParaGRU, ParaLSTM, kernels
from pararnn_core.cells import adjoint as adjoint_module
from pararnn_core.cells.adjoint import Trajectory, adjoint
from pararnn_core.cells.solve import Solver, solve
from pararnn_core.ops import ScanReport
from pararnn_core.solvers.newton import NewtonOptions, newton_solve
from pararnn_core.solvers.scan import affine_scan, reverse_affine_scan
from pararnn_core.solvers.sequential import sequential_solve
from pararnn_core.solvers.varlen import Tile, time_tiles
from tests.core.cells.user_cells import USER_CELLS, gradients, make_problem

# Torch scripts its own forward-mode rules when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

BOUNDS = torch.tensor([0, 1, 1, 40, 70], dtype=torch.int32)
CHANNELS = 6
CELLS: dict[str, type[ParaGRU] | type[ParaLSTM]] = {"gru": ParaGRU, "lstm": ParaLSTM}
SOLVERS = {
    "parallel_cuda": kernels.PARALLEL_CUDA,
    "parallel_fused": kernels.PARALLEL_FUSED,
    "auto": kernels.SEQUENTIAL,
}


def starts_of(cu_seqlens: Tensor) -> Tensor:
    starts = torch.zeros(int(cu_seqlens[-1]) + 1, dtype=torch.bool)
    starts[cu_seqlens.long()] = True
    return starts[:-1]


class ReferenceKernels:
    """Does what the operations of the kernels promise, and counts the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("linear_scan", "newton_recurrence", "recurrence"):
            monkeypatch.setattr(ops, name, getattr(self, name))

    def linear_scan(
        self, jacobian: Tensor, source: Tensor, entry: None, cu_seqlens: Tensor, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        assert cu_seqlens.dtype == torch.int32
        assert jacobian.is_contiguous()
        assert source.is_contiguous()
        assert jacobian.shape == (len(source), source.shape[1], *source.shape[1:])
        self.calls.append("reverse" if reverse else "forward")
        scan = reverse_affine_scan if reverse else affine_scan
        return scan(jacobian, source, starts_of(cu_seqlens)), torch.empty(0)

    def newton_recurrence(
        self,
        name: str,
        bx: Tensor,
        a: Tensor,
        c: Tensor | None,
        initial_state: Tensor,
        cu_seqlens: Tensor,
        tolerance: float,
        max_iterations: int,
        time_warps: int,
    ) -> tuple[Tensor, ScanReport]:
        self.calls.append("newton")
        cell = bare_cell(name, a, c)
        options = NewtonOptions(max_iterations, tolerance)
        states, result = newton_solve(
            cell.advance, cell.linearize, bx, initial_state, cu_seqlens, 128, options
        )
        count = len(cu_seqlens) - 1
        return states, ScanReport(
            torch.full((count,), result.residual),
            torch.full((count,), result.iterations, dtype=torch.int32),
            torch.tensor([result.fallbacks, *[0] * (count - 1)], dtype=torch.int32),
        )

    def recurrence(
        self, name: str, bx: Tensor, a: Tensor, c: Tensor | None, initial_state: Tensor, cu_seqlens: Tensor
    ) -> Tensor:
        self.calls.append("sequential")
        return sequential_solve(bare_cell(name, a, c).advance, bx, initial_state, cu_seqlens)


def bare_cell(name: str, a: Tensor, c: Tensor | None) -> Cell:
    cell = CELLS[name](CHANNELS, CHANNELS)
    cell.A = torch.nn.Parameter(a)
    if c is not None:
        cell.C = torch.nn.Parameter(c)
    return cell


class Problem:
    """A cell with a ragged batch, all of which require gradients."""

    def __init__(self, name: str) -> None:
        self.cell = CELLS[name](CHANNELS, CHANNELS)
        self.bx = torch.randn(70, 3, CHANNELS, requires_grad=True)
        self.initial = torch.randn(4, self.cell.num_states, CHANNELS, requires_grad=True)
        self.weight = torch.randn(70, self.cell.num_states, CHANNELS)

    def gradients(self, states: Tensor) -> list[Tensor]:
        leaves = [self.bx, self.initial, *self.cell.recurrent_parameters()]
        return list(torch.autograd.grad((states * self.weight).sum(), leaves))

    def solved(self, solver: Solver) -> Tensor:
        return solve(solver, self.cell, self.bx, self.initial, BOUNDS)


@pytest.mark.parametrize("mode", SOLVERS)
@pytest.mark.parametrize("name", CELLS)
def test_states_and_gradients_are_those_of_the_sequential_mode(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(name)
    expected = problem.cell.recurrence(problem.bx, problem.initial, BOUNDS, "sequential")
    wanted = problem.gradients(expected)
    reference = ReferenceKernels(monkeypatch)
    states = problem.solved(SOLVERS[mode])
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    forward = set(reference.calls)
    assert forward == {{"parallel_cuda": "forward", "parallel_fused": "newton", "auto": "sequential"}[mode]}
    for gradient, other in zip(problem.gradients(states), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)
    assert set(reference.calls) - forward == {"reverse"}


@pytest.mark.parametrize("cls", USER_CELLS)
def test_a_users_cell_goes_through_the_scan_whatever_its_jacobian(
    cls: type[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(cls, [1, 0, 30, 70], torch.seed())
    weights = torch.randn_like(problem.initial_state[0]).expand(101, -1, -1)
    expected = problem.cell.recurrence(*problem[1:], "sequential")
    wanted = gradients(problem, expected, weights)
    reference = ReferenceKernels(monkeypatch)
    states = solve(kernels.PARALLEL_CUDA, *problem)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-11)
    for gradient, other in zip(gradients(problem, states, weights), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-9)
    assert set(reference.calls) == {"forward", "reverse"}


@pytest.mark.parametrize("mode", SOLVERS)
def test_last_solve_says_how_newton_went(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ReferenceKernels(monkeypatch)
    problem = Problem("gru")
    problem.solved(SOLVERS[mode])
    result = problem.cell.last_solve
    if mode == "auto":
        assert result is None
        return
    assert result is not None
    assert 0 < result.iterations <= 8
    assert result.residual <= 1e-6
    assert (result.converged, result.fallbacks) == (True, 0)


def test_fused_solve_of_no_updates_counts_its_fallbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    ReferenceKernels(monkeypatch)
    problem = Problem("gru")
    problem.cell.newton = NewtonOptions(max_iterations=0)
    problem.solved(kernels.PARALLEL_FUSED)
    assert problem.cell.last_solve is not None
    assert problem.cell.last_solve.fallbacks == 3 * CHANNELS


def test_fused_solve_of_what_is_not_finite_has_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    ReferenceKernels(monkeypatch)
    problem = Problem("gru")
    with torch.no_grad():
        problem.bx[5] = torch.nan
    states = problem.solved(kernels.PARALLEL_FUSED)
    with pytest.raises(RuntimeError, match="did not converge"):
        states.sum().backward()


@pytest.mark.parametrize("mode", ["parallel_cuda", "parallel_fused"])
@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM, *USER_CELLS])
def test_modes_of_a_gpu_say_on_a_cpu_that_they_need_one(cls: type[Cell], mode: str) -> None:
    message = f"^mode: '{mode}' needs a CUDA device, and the input is on cpu; use 'parallel' or 'auto'$"
    with pytest.raises(ValueError, match=message):
        cls(4, 4)(torch.randn(2, 3, 4), mode=mode)


@pytest.mark.parametrize(
    ("cell", "dtype", "fused", "has_kernels", "reason"),
    [
        (ParaGRU(4, 4), torch.float32, True, True, None),
        (ParaLSTM(4, 4), torch.float32, False, True, None),
        (ParaLSTM(4, 4), torch.float32, False, False, "which this build lacks"),
        (ParaGRU(4, 4), torch.float64, True, True, "in float32, and this cell in torch.float64"),
        (USER_CELLS[0](4, 4), torch.float32, True, True, "supports only the cells of pararnn_core"),
        *[(cls(4, 4), torch.float32, False, True, None) for cls in USER_CELLS],
    ],
)
def test_what_keeps_the_kernels_from_a_recurrence_is_said(
    cell: Cell,
    dtype: torch.dtype,
    fused: bool,
    has_kernels: bool,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ops, "has_cuda_kernels", lambda: has_kernels)
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"), dtype=dtype)
    found = kernels.unsupported_reason(cell, on_gpu, fused)
    assert found is reason is None or (reason is not None and reason in str(found))


def test_fastest_kernel_is_that_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "multiprocessors", lambda device: 100)
    cell, bx = ParaGRU(CHANNELS, CHANNELS), torch.empty(0, 3, CHANNELS)
    long, short = (torch.tensor([0, length], dtype=torch.int32) for length in (1 << 20, 1))
    assert kernels.fastest(cell, bx, long) is kernels.fused_solver(4)
    assert kernels.fastest(cell, bx, short) is kernels.SEQUENTIAL
    assert kernels.fastest(cell, bx, short[:1]) is kernels.SEQUENTIAL
    wide = ParaGRU(1 << 20, 1 << 20, 1 << 20)
    assert kernels.fastest(wide, bx, long) is kernels.SEQUENTIAL


@pytest.mark.parametrize("starts", [[1, 0, 0, 1, 1, 0], [0, 0, 1], [1], [1, 1]])
def test_scan_of_the_kernel_is_that_of_torch(starts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ReferenceKernels(monkeypatch)
    where = torch.tensor(starts, dtype=torch.bool)
    jacobian, source = torch.randn(len(starts), 2, 2, 5), torch.randn(len(starts), 2, 5)
    begins = [i for i, begin in enumerate(starts) if begin or i == 0]
    ends = [begin - 1 for begin in [*begins[1:], len(starts)]]
    tile = Tile(torch.arange(len(starts)), where, torch.tensor(begins), torch.tensor(ends))
    for scan, expected in (
        (kernels.kernel_scan, affine_scan),
        (kernels.kernel_reverse_scan, reverse_affine_scan),
    ):
        for matrices in (jacobian.transpose(1, 2), torch.randn(len(starts), 10, 10)):
            torch.testing.assert_close(scan(matrices, source, tile), expected(matrices, source, where))


class CountsLooks(TorchDispatchMode):
    """Counts what would make the host wait for a device: looks at a value, and shapes that depend on one."""

    LOOKS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.looks += str(func).split(".")[1] in self.LOOKS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("cls", "most"), [(ParaGRU, 0), (ParaLSTM, 0), (USER_CELLS[0], 1)])
def test_backward_looks_at_no_value_in_a_tile(
    cls: type[Cell], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ReferenceKernels(monkeypatch)
    looks = []
    for tile_span in (4, 64):
        monkeypatch.setattr(cls, "tile_span", tile_span)
        problem = make_problem(cls, [64, 9], torch.seed(), torch.float32)
        at = Trajectory(
            problem.cu_seqlens,
            problem.cell.recurrence(*problem[1:], "sequential").detach(),
            problem.bx.detach(),
            problem.initial_state.detach(),
            tuple(p.detach() for p in problem.cell.solved_parameters().values()),
        )
        gradient = torch.ones_like(at.states)
        layout = time_tiles(at.cu_seqlens, tile_span)
        monkeypatch.setattr(adjoint_module, "time_tiles", lambda *_, made=layout: made)
        # The reference in the kernel's place looks at its bounds; the kernel does not.
        monkeypatch.setattr(ops, "linear_scan", lambda jacobian, source, *_: (source, source))
        with torch.no_grad(), CountsLooks() as counted:
            adjoint(problem.cell, at, gradient, kernels.kernel_reverse_scan, check_structure=most > 0)
        looks.append(counted.looks)
        monkeypatch.setattr(adjoint_module, "time_tiles", time_tiles)
    assert looks == [most, most]
