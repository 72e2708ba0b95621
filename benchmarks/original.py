"""The original's code as a peer: a checkout of the public fork xaviergonzalez/ml-pararnn, named by its path.

On a CPU its pure PyTorch path is measured, on a GPU its fused kernel, which must be built there
(`python setup.py build_ext --inplace` in the checkout). Both always take three Newton updates and check no
residual. So they are compared at equal accuracy: ours has the loosest tolerance whose error is not larger.
Nothing of the checkout is copied into this project. It needs the package typing_inspect.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pararnn_server.bench.table import number
from pararnn_server.bench.timing import Spread, interleaved
from torch import Tensor

from pararnn_core import ops
from pararnn_core.cells import Cell, ParaGRU, ParaLSTM
from pararnn_core.cells.trained_like import draw_inputs, draw_weights
from pararnn_core.ops.devices import seconds_on
from pararnn_core.solvers.newton import NewtonOptions

HEADINGS = (
    *("problem", "original", "its error", "ours, equal", "its tolerance"),
    *("ours, full", "its error", "faster"),
)
FOOT = (
    "Milliseconds, medians of rounds in turn. Original: on a CPU its PyTorch path, on a GPU its fused "
    "kernel; three updates whatever the error. Errors: the largest of the outputs, against float64 step by "
    "step. Equal: Newton at the loosest tolerance whose error is not larger. Full: the mode auto. "
    "Faster: original over the faster of ours whose error is not larger."
)
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_LIBRARY = "parallel_reduce_cuda"
_MODULES = {"gru": ("gru_diag_mh", "GRUDiagMH"), "lstm": ("lstm_cifg_diag_mh", "LSTMCIFGDiagMH")}
_CELLS: dict[str, type[Cell]] = {"gru": ParaGRU, "lstm": ParaLSTM}
_HEADS = 4


class OriginalMissing(RuntimeError):
    """Error: the path has no checkout that this machine can use."""


@dataclass(frozen=True)
class Problem:
    """One batch: sequences of `tokens` tokens each."""

    cell: str
    tokens: int
    channels: int
    sequences: int

    def __str__(self) -> str:
        return f"{self.cell}, T {self.tokens:,}, D {self.channels}, B {self.sequences}"


CPU_PROBLEMS = tuple(Problem(cell, tokens, 256, 4) for cell in _MODULES for tokens in (128, 512, 2048))
GPU_PROBLEMS = tuple(
    Problem(cell, tokens, 2048, sequences)
    for cell in _MODULES
    for tokens in (512, 2048, 8192)
    for sequences in (1, 8)
)


@dataclass(frozen=True)
class OriginalFigure:
    """A comparison. original, equal, full: seconds; tolerance: of `equal`, None if none is as exact."""

    problem: Problem
    original: Spread
    original_error: float
    equal: Spread | None
    tolerance: float | None
    full: Spread
    full_error: float

    @property
    def ratio(self) -> float:
        """Ratio of speeds at equal accuracy."""
        own = [self.full.median] if self.full_error <= self.original_error else []
        own += [self.equal.median] if self.equal is not None else []
        return self.original.median / min(own, default=self.full.median)

    def row(self) -> tuple[str, ...]:
        """Return a row with the columns HEADINGS."""
        return (
            str(self.problem),
            number(self.original.median * 1e3),
            f"{self.original_error:.1e}",
            "" if self.equal is None else number(self.equal.median * 1e3),
            "" if self.tolerance is None else f"{self.tolerance:.0e}",
            number(self.full.median * 1e3),
            f"{self.full_error:.1e}",
            f"{self.ratio:.1f}x",
        )


class Original:
    """The classes of a checkout. Raises OriginalMissing that names the missing part."""

    def __init__(self, checkout: Path, device: torch.device) -> None:
        if not (checkout / "pararnn" / "rnn_cell").is_dir():
            raise OriginalMissing(
                f"--original {checkout}: holds no pararnn/rnn_cell; give a checkout of ml-pararnn"
            )
        self._fused = device.type == "cuda"
        if self._fused and not list(checkout.glob(f"*{_LIBRARY}.cpython*so")):
            raise OriginalMissing(
                f"--original {checkout}: its kernels are not built; there, run "
                "`python setup.py build_ext --inplace`"
            )
        self._modules = _import_built(checkout) if self._fused else _import_without_kernels(checkout)

    def like(self, name: str, cell: Cell) -> Any:
        """Return the original's cell with our cell's parameters."""
        module, cls = self._modules[name], _MODULES[name][1]
        config = getattr(module, f"{cls}Config")(
            state_dim=cell.state_dim,
            input_dim=cell.input_dim,
            num_heads=cell.num_heads,
            device=cell.b.device,
            mode="parallel_FUSED" if self._fused else "parallel",
        )
        made = getattr(module, cls)(config)
        with torch.no_grad():
            for parameter, values in made.named_parameters():
                values.copy_(cell.get_parameter(parameter))
        return made

    def work(self, name: str, cell: Cell, x: Tensor) -> Callable[[], Tensor]:
        """Return the function to be timed: the cell on a CPU, its kernel alone on a GPU."""
        made = self.like(name, cell)
        if not self._fused:
            return lambda: made(x)
        bx = cell.input_projection(x).permute(0, 3, 1, 2).contiguous()
        weights = [p.detach().transpose(-1, -2).contiguous() for p in cell.recurrent_parameters()]
        run = made.impl_type._fused_parallel_fwd
        return lambda: run(weights[0], bx, *weights[1:])

    def output(self, name: str, cell: Cell, x: Tensor) -> Tensor:
        """Return y (B, T, D)."""
        y: Tensor = self.like(name, cell)(x)
        return y


def _import_built(checkout: Path) -> dict[str, Any]:
    with _on_path(checkout):
        return _import()


def _import_without_kernels(checkout: Path) -> dict[str, Any]:
    """Import the checkout without its CUDA library, which its PyTorch path does not use."""
    stub: Any = types.ModuleType(_LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(checkout / "pararnn", Path(folder) / "pararnn", ignore=shutil.ignore_patterns("csrc"))
        (Path(folder) / f"{_LIBRARY}.cpython-none.so").touch()
        # Torch must register its own parts before modules are put aside below.
        importlib.import_module("torch._dynamo")
        with (
            mock.patch.dict(sys.modules, {_LIBRARY: stub}),
            mock.patch.object(torch.ops, "load_library"),
            mock.patch.object(torch.library, "register_fake"),
            _on_path(Path(folder)),
        ):
            return _import()


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Put a folder on the import path. Other packages named pararnn are put aside and restored."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "pararnn"}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "pararnn"]:
            del sys.modules[name]
        sys.modules.update(before)


def _import() -> dict[str, Any]:
    try:
        solver: Any = importlib.import_module("pararnn.parallel_reduction.parallel_reduction")
        # Without a hash Python 3.11 and newer refuse it as the default of a field.
        solver.NewtonConfig.__hash__ = object.__hash__
        return {name: importlib.import_module(f"pararnn.rnn_cell.{m}") for name, (m, _) in _MODULES.items()}
    except ImportError as error:
        raise OriginalMissing(f"--original: its code cannot be imported: {error}") from error


def measure_all(
    checkout: Path, device: torch.device, problems: Sequence[Problem], rounds: int, left: Callable[[], float]
) -> tuple[list[OriginalFigure], list[str]]:
    """Return a figure for each problem that there is time for, and notes with reasons for absent ones."""
    try:
        original = Original(checkout, device)
    except OriginalMissing as error:
        return [], [str(error)]
    figures: list[OriginalFigure] = []
    for index, problem in enumerate(problems):
        if left() <= 0:
            return figures, [f"Left out for want of time: the original from {problem} on."]
        share = max(left(), 1.0) / (len(problems) - index)
        figures.append(measure(original, problem, device, rounds, share))
    return figures, []


@torch.no_grad()
def measure(
    original: Original, problem: Problem, device: torch.device, rounds: int, time_limit: float
) -> OriginalFigure:
    """Time the original and ours in turn on one problem as hard as trained ones."""
    cell, x = _draw(problem, device)
    exact = deepcopy(cell).double()
    truth = exact(x.double(), mode="sequential")[0]

    def error(y: Tensor) -> float:
        return float((y.double() - truth).abs().max())

    original_error = error(original.output(problem.cell, cell, x))
    full_error = error(cell(x)[0])
    newton = "parallel_fused" if device.type == "cuda" else "parallel"
    tolerance = next((t for t in TOLERANCES if error(_newton(cell, x, newton, t)) <= original_error), None)
    cases = {"original": original.work(problem.cell, cell, x), "full": _own_work(cell, x, device, None)}
    if tolerance is not None:
        cases["equal"] = _own_work(cell, x, device, tolerance)
    taken = _in_turn(cases, device, rounds, time_limit)
    return OriginalFigure(
        problem, taken["original"], original_error, taken.get("equal"), tolerance, taken["full"], full_error
    )


def _newton(cell: Cell, x: Tensor, mode: str, tolerance: float) -> Tensor:
    cell.newton = NewtonOptions(tol=tolerance)
    y: Tensor = cell(x, mode=mode)[0]
    return y


def _own_work(cell: Cell, x: Tensor, device: torch.device, tolerance: float | None) -> Callable[[], object]:
    """Return our function to be timed. tolerance: None is mode auto. On a GPU it is the recurrence alone."""
    own = deepcopy(cell)
    own.newton = NewtonOptions(tol=tolerance)
    if device.type != "cuda":
        return lambda: own(x, mode="auto" if tolerance is None else "parallel")
    bx = own.input_projection(x).flatten(0, 1).contiguous()
    a, *c = (p.detach() for p in own.recurrent_parameters())
    bounds = torch.arange(len(x) + 1, dtype=torch.int32, device=device) * x.shape[1]
    start = bx.new_zeros(len(x), own.num_states, own.state_dim)
    name = str(own.native_name)
    if tolerance is None:
        return lambda: own.recurrence(bx, start, bounds)
    return lambda: ops.newton_recurrence(name, bx, a, c[0] if c else None, start, bounds, tolerance)


def _in_turn(
    cases: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, time_limit: float
) -> dict[str, Spread]:
    def timed(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: seconds_on(device, work)

    return interleaved(
        {name: timed(work) for name, work in cases.items()},
        rounds=rounds,
        time_limit=time_limit,
        progress=lambda _: None,
        rest=lambda _: None,
    )


def _draw(problem: Problem, device: torch.device) -> tuple[Cell, Tensor]:
    """Return a cell whose bx are like those of trained models, and its input."""
    size = problem.channels
    cell = _CELLS[problem.cell](size, size, _HEADS).to(device)
    gates = draw_inputs(problem.cell, 1024, size, device)
    with torch.no_grad():
        drawn = [each for each in draw_weights(problem.cell, size, device) if each is not None]
        for weights, values in zip(cell.recurrent_parameters(), drawn, strict=True):
            weights.copy_(values)
        cell.b.copy_(gates.mean(0))
        deviation = (gates - cell.b).std((0, 2)) / (size / _HEADS) ** 0.5
        cell.get_parameter("B").normal_().mul_(deviation[:, None])
    return cell, torch.randn(problem.sequences, problem.tokens, size, device=device)
