"""The choice of solver on a CUDA device and what is kept of Newton's reports; the kernels are not there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.device import solvers
from pararnn_core.device.solvers import Solvers, StepByStep, solvers_on
from pararnn_core.models.base import NewtonReport
from pararnn_core.ops import NativeLibraryMissing, ScanReport
from pararnn_core.solvers.solver_table import SolverTable

TABLE = SolverTable("a chip", {"gru": {"float32": [(4, [(128, 1), (512, 4)]), (16, [(128, 1)])]}})
CPU = torch.device("cpu")


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Solvers:
    """Return the solvers of a chip with 100 multiprocessors, with their totals on the CPU."""
    monkeypatch.setattr(solvers, "multiprocessors", lambda device: 100)
    monkeypatch.setattr(ops, "has_cuda_kernels", lambda: True)
    return Solvers("gru", CPU, table=TABLE)


def report(residual: list[float], iterations: list[int], fallbacks: list[int]) -> ScanReport:
    return ScanReport(
        torch.tensor(residual),
        torch.tensor(iterations, dtype=torch.int32),
        torch.tensor(fallbacks, dtype=torch.int32),
    )


def solve(choice: Solvers, monkeypatch: pytest.MonkeyPatch, *reports: ScanReport) -> list[Tensor]:
    """Solve once for each report; return the kernel's last arguments."""
    waiting, given = list(reports), []

    def newton(cell: str, *tensors: Any, time_warps: int) -> tuple[Tensor, ScanReport]:
        assert time_warps == 4
        given.append([cell, *tensors])
        return torch.zeros(1), waiting.pop(0)

    monkeypatch.setattr(ops, "newton_recurrence_", newton)
    recurrence = choice.choose(100, 1000)
    for _ in reports:
        recurrence("gru", *([torch.zeros(1)] * 8))
    return given[-1]


def test_decode_goes_step_by_step_and_a_long_prompt_by_newton(choice: Solvers) -> None:
    assert choice.choose(100, 1) is ops.recurrence_
    assert choice.choose(1601, 1 << 20) is ops.recurrence_
    assert choice.choose(1600, 128) is not ops.recurrence_


def test_reports_of_all_layers_become_one(choice: Solvers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.take_report() is None
    given = solve(
        choice, monkeypatch, report([1e-7, 5e-7], [3, 4], [0, 2]), report([2e-7, 0.0], [5, 0], [1, 0])
    )
    assert len(given) == 9
    assert choice.take_report() == NewtonReport(5, pytest.approx(5e-7), 3)
    assert choice.take_report() is None


def test_next_report_starts_from_nothing(choice: Solvers, monkeypatch: pytest.MonkeyPatch) -> None:
    solve(choice, monkeypatch, report([1.0], [8], [9]))
    choice.take_report()
    solve(choice, monkeypatch, report([1e-8], [2], [0]))
    assert choice.take_report() == NewtonReport(2, pytest.approx(1e-8), 0)


def test_residual_that_is_no_number_stays_one(choice: Solvers, monkeypatch: pytest.MonkeyPatch) -> None:
    solve(choice, monkeypatch, report([float("nan")], [8], [0]), report([1e-8], [2], [0]))
    taken = choice.take_report()
    assert taken is not None
    assert taken.residual != taken.residual


def test_build_without_kernels_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "has_cuda_kernels", lambda: False)
    with pytest.raises(NativeLibraryMissing, match="has no CUDA kernels: install it again where nvcc"):
        solvers_on(torch.device("cuda"), "gru")


def test_cpu_has_one_way() -> None:
    only = solvers_on(CPU, "gru")
    assert isinstance(only, StepByStep)
    assert only.choose(1, 1 << 20) is ops.recurrence_
    assert only.take_report() is None
