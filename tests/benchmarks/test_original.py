"""The original as a peer, with a substitute of its checkout: loading and comparison."""

import sys
from pathlib import Path

import pytest
import torch
from pararnn_server.bench.timing import Spread

from benchmarks.original import HEADINGS, Original, OriginalFigure, OriginalMissing, Problem, measure_all

CPU = torch.device("cpu")
PROBLEMS = [Problem("gru", 20, 8, 2), Problem("lstm", 20, 8, 2)]

# Its shape, not its code: a library that is not there, a default that Python 3.11 refuses, cells by name.
SOLVER = """
from dataclasses import dataclass
from pathlib import Path
import torch
import parallel_reduce_cuda
torch.ops.load_library(str(next(iter(Path(__file__).resolve().parents[2].glob("*parallel_reduce_cuda.cpython*so")))))
@torch.library.register_fake("parallel_reduce_cuda::nothing")
def _(): pass
@dataclass
class NewtonConfig:
    max_its: int = 3
"""
CELL = """
from dataclasses import dataclass
import torch
from pararnn.parallel_reduction.parallel_reduction import NewtonConfig
from pararnn_core import cells
@dataclass
class {cls}Config:
    state_dim: int
    input_dim: int
    num_heads: int
    device: object
    mode: str
    newton_config: NewtonConfig = NewtonConfig()
class {cls}(cells.{ours}):
    def __init__(self, config):
        super().__init__(config.input_dim, config.state_dim, config.num_heads)
        assert config.mode == "parallel"
    def forward(self, x):
        return super().forward(x)[0] + {error}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder, name, text in (
        ("parallel_reduction", "parallel_reduction", SOLVER),
        ("rnn_cell", "gru_diag_mh", CELL.format(cls="GRUDiagMH", ours="ParaGRU", error=3e-3)),
        ("rnn_cell", "lstm_cifg_diag_mh", CELL.format(cls="LSTMCIFGDiagMH", ours="ParaLSTM", error=0.0)),
    ):
        package = tmp_path / "pararnn" / folder
        package.mkdir(parents=True, exist_ok=True)
        for empty in (package, package.parent):
            (empty / "__init__.py").touch()
        (package / f"{name}.py").write_text(text)
    return tmp_path


def test_its_cells_are_measured_beside_ours_at_an_error_that_is_not_larger(checkout: Path) -> None:
    load, fakes = torch.ops.load_library, torch.library.register_fake
    figures, notes = measure_all(checkout, CPU, PROBLEMS, 1, lambda: 5.0)
    assert notes == []
    assert [each.problem for each in figures] == PROBLEMS
    gru, lstm = figures
    assert gru.original_error == pytest.approx(3e-3, rel=1e-2)
    assert gru.tolerance is not None
    assert gru.full_error < 1e-5 < gru.original_error
    assert lstm.original_error == pytest.approx(lstm.full_error)
    assert all(len(each.row()) == len(HEADINGS) for each in figures)
    # Nothing of it stays behind.
    assert not [name for name in sys.modules if name.split(".")[0] in ("pararnn", "parallel_reduce_cuda")]
    assert (torch.ops.load_library, torch.library.register_fake) == (load, fakes)


def test_its_parameters_are_ours(checkout: Path) -> None:
    original = Original(checkout, CPU)
    assert set(original._modules) == {"gru", "lstm"}


def test_time_that_is_over_leaves_out_problems_and_says_so(checkout: Path) -> None:
    figures, notes = measure_all(checkout, CPU, PROBLEMS, 1, lambda: 0.0)
    assert figures == []
    assert notes == ["Left out for want of time: the original from gru, T 20, D 8, B 2 on."]


def test_path_without_a_checkout_is_one_clear_note(tmp_path: Path) -> None:
    figures, (note,) = measure_all(tmp_path, CPU, PROBLEMS, 1, lambda: 5.0)
    assert figures == []
    assert note == f"--original {tmp_path}: holds no pararnn/rnn_cell; give a checkout of ml-pararnn"


def test_kernels_that_are_not_built_are_one_clear_error(checkout: Path) -> None:
    with pytest.raises(OriginalMissing, match=r"its kernels are not built; there, run `python setup.py"):
        Original(checkout, torch.device("cuda"))


def test_faster_means_faster_at_an_error_that_is_not_larger() -> None:
    def spread(seconds: float) -> Spread:
        return Spread.of([seconds])

    problem = PROBLEMS[0]
    exact = OriginalFigure(problem, spread(6.0), 1e-3, spread(2.0), 1e-2, spread(1.0), 1e-7)
    coarse = OriginalFigure(problem, spread(6.0), 1e-8, spread(2.0), 1e-2, spread(1.0), 1e-7)
    assert exact.ratio == 6.0
    assert coarse.ratio == 3.0
