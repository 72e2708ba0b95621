"""One problem of a scan, and its solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.sizes import Sizes
from pararnn_core import ops
from pararnn_core.cells import CELLS
from pararnn_core.cells.trained_like import draw_inputs, draw_weights
from pararnn_core.device.tune_solvers import SOLVERS
from pararnn_core.ops.devices import multiprocessors
from pararnn_core.solvers.solver_table import STEP_BY_STEP, read_table

SEQUENTIAL, AUTO = "sequential", "auto"
NEWTON_WARPS = tuple(warps for warps in SOLVERS if warps != STEP_BY_STEP)

_FLOAT = 4


@dataclass(frozen=True)
class Shape:
    """The shape of a problem. tokens: of each sequence; dtype: of bx, "float32" or "bfloat16"."""

    cell: str
    dtype: str
    sequences: int
    tokens: int
    channels: int

    @property
    def steps(self) -> int:
        """Steps of all channels and sequences together."""
        return self.sequences * self.tokens * self.channels

    @property
    def moved(self) -> int:
        """Least bytes of traffic: bx read once, y written once."""
        return self.steps * (3 * self.torch_dtype.itemsize + _FLOAT)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype of bx."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def __str__(self) -> str:
        return f"{self.cell}, {self.dtype}, T {self.tokens:,}, D {self.channels}, B {self.sequences}"


MEASURED_CELLS = ("gru", "lstm")
"""The cells of the paper. The others have no recurrence that is harder to solve."""


def solver_name(time_warps: int) -> str:
    """Return the name of a solver, which is also its name in the counts of instructions."""
    return {STEP_BY_STEP: SEQUENTIAL, 1: "newton"}.get(time_warps, f"newton {time_warps}")


def shapes(sizes: Sizes) -> list[Shape]:
    """Return the shapes by cell and type, the smallest first."""
    return [
        Shape(cell, str(dtype).removeprefix("torch."), sequences, tokens, channels)
        for cell in MEASURED_CELLS
        for dtype in sizes.dtypes
        for tokens in sizes.lengths
        for channels in sizes.widths
        for sequences in sizes.sequences
    ]


class ScanProblem:
    """A problem with inputs and weights like those of trained models, and new states."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self._shape = shape
        self._device = device
        with torch.device(device):
            self._cell = CELLS[shape.cell](shape.channels, shape.channels, num_heads=shape.channels)
            drawn = [each for each in draw_weights(shape.cell, shape.channels, device) if each is not None]
            with torch.no_grad():
                for weights, values in zip(self._cell.recurrent_parameters(), drawn, strict=True):
                    weights.copy_(values)
            total = shape.sequences * shape.tokens
            self._bx = draw_inputs(shape.cell, total, shape.channels, device).to(shape.torch_dtype)
            self._bounds = torch.arange(shape.sequences + 1, dtype=torch.int32) * shape.tokens
            self._slots = torch.arange(shape.sequences, dtype=torch.int32)
            self._held = torch.ones(shape.sequences, dtype=torch.bool)
            self._state = torch.zeros(shape.sequences, self._cell.num_states, shape.channels)

    @property
    def choice(self) -> str:
        """Return the solver that the project's table names for this device."""
        if self._device.type != "cuda":
            return SEQUENTIAL
        shape = self._shape
        channels, processors = shape.sequences * shape.channels, multiprocessors(self._device)
        warps = read_table().time_warps(shape.cell, shape.dtype, channels, shape.tokens, processors)
        return solver_name(warps)

    def solvers(self) -> dict[str, Callable[[], object]]:
        """Return all solvers of the device by name, and AUTO, the table's choice."""
        found: dict[str, Callable[[], object]] = {SEQUENTIAL: lambda: ops.recurrence_(*self._arguments)}
        if self._device.type == "cuda":
            found |= {solver_name(warps): partial(self.newton, warps) for warps in NEWTON_WARPS}
        return found | {AUTO: found[self.choice]}

    def newton(self, time_warps: int) -> ops.ScanReport:
        """Solve by Newton's method on a CUDA device."""
        return ops.newton_recurrence_(*self._arguments, time_warps=time_warps)[1]

    @torch.inference_mode()
    def time_loop(self) -> Tensor:
        """Return the states (B, T, N, D) of the cell's own step in torch, one time after the other."""
        bx = self._bx.float().view(self._shape.sequences, self._shape.tokens, 3, -1)
        states, outputs = self._state, []
        for t in range(self._shape.tokens):
            states = self._cell.advance(states, bx[:, t])
            outputs.append(states)
        return torch.stack(outputs, dim=1)

    @property
    def _arguments(
        self,
    ) -> tuple[str, Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor, None]:
        a = self._cell.A.detach()
        c = self._cell.get_parameter("C").detach() if self._cell.num_peepholes else None
        return (self._shape.cell, self._bx, a, c, self._bounds, self._slots, self._held, self._state, None)
