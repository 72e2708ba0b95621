"""Newton's method for whole trajectories of a recurrence h_t = f(h_{t-1}, x_t), for any cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pararnn_core.solvers.scan import Scan, scan_tile
from pararnn_core.solvers.sequential import Step, sequential_solve
from pararnn_core.solvers.varlen import Tile, time_tiles

_ROUNDING_STEPS = 256
"""Units of rounding by which a step's results may differ between batches of different sizes."""

Linearize = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(h (n, N, D), bx (n, G, D)) -> step(h, bx) (n, N, D) and its Jacobian (n, N, N, D) or (n, N*D, N*D)."""


@dataclass(frozen=True)
class NewtonOptions:
    """Options of Newton's method.

    max_iterations: updates after which a unit that has not converged counts as failed
    tol: tolerance of updates and residuals relative to 1 + |h|; None: 1e-6 for float32, 1e-13 for float64
    fallback: solves failed units step by step; without it the result may be not converged
    """

    max_iterations: int = 8
    tol: float | None = None
    fallback: bool = True

    def __post_init__(self) -> None:
        if self.max_iterations < 0:
            raise ValueError(f"max_iterations: must be at least 0, got {self.max_iterations}")
        if self.tol is not None and not self.tol > 0:
            raise ValueError(f"tol: must be positive, got {self.tol}")


@dataclass(frozen=True)
class NewtonResult:
    """The result of a solve.

    iterations: most updates that any tile took
    residual: max |f(h_{t-1}, x_t) - h_t| / (1 + |h_t|) of the states returned
    converged: every unit met the tolerance or was solved step by step, every state is finite, and the
    residual is within the tolerance or rounding: the states are a trajectory of the step
    fallbacks: units (sequence, channel, tile) solved step by step; where channels mix, units (sequence, tile)
    units: all of them
    """

    iterations: int
    residual: float
    converged: bool
    fallbacks: int
    units: int

    @property
    def fell_back_everywhere(self) -> bool:
        """True if no unit converged, so that all were solved step by step."""
        return 0 < self.units == self.fallbacks


def default_tolerance(dtype: torch.dtype) -> float:
    """Return the relative tolerance for float32 or float64 states. Raises ValueError for other dtypes."""
    tolerances = {torch.float32: 1e-6, torch.float64: 1e-13}
    if dtype not in tolerances:
        raise ValueError(f"bx: Newton needs float32 or float64, got {dtype}")
    return tolerances[dtype]


def largest_residual(dtype: torch.dtype, tol: float) -> float:
    """Return the largest residual of a trajectory: the tolerance, or the rounding error of a step."""
    return max(tol, _ROUNDING_STEPS * torch.finfo(dtype).eps)


def newton_solve(
    step: Step,
    linearize: Linearize,
    bx: Tensor,
    initial_state: Tensor,
    cu_seqlens: Tensor,
    tile_span: int = 256,
    options: NewtonOptions | None = None,
    scan: Scan = scan_tile,
) -> tuple[Tensor, NewtonResult]:
    """Solve a packed batch in tiles of tile_span steps. Returns the states (T, N, D) and Newton's result.

    bx: (T, G, D) float32 or float64; initial_state: (S, N, D); cu_seqlens: (S+1,) int32
    scan: the function that solves the linear recurrence of an update
    Working memory grows with tile_span and S, but not with T, except for some integers per token.
    """
    options = options or NewtonOptions()
    tol = default_tolerance(bx.dtype) if options.tol is None else options.tol
    layout = time_tiles(cu_seqlens, tile_span)
    states = bx.new_empty(bx.shape[0], *initial_state.shape[1:])
    entry = initial_state[layout.by_length]
    results = []
    for tile in layout.tiles():
        solve = _TileSolve(step, linearize, bx[tile.rows], entry[: tile.active], tile, tol, scan)
        results.append(solve.run(options))
        states[tile.rows] = solve.h
        # Sequences are sorted from the longest, so those that continue are a prefix.
        entry[: tile.active] = solve.h[tile.last]
    return states, _merge(results)


def _merge(results: list[NewtonResult]) -> NewtonResult:
    residuals = torch.tensor([r.residual for r in results] or [0.0], dtype=torch.float64)
    return NewtonResult(
        iterations=max((r.iterations for r in results), default=0),
        residual=float(residuals.max()),
        converged=all(r.converged for r in results),
        fallbacks=sum(r.fallbacks for r in results),
        units=sum(r.units for r in results),
    )


class _TileSolve:
    """The solve of one tile.

    h: (n, N, D), the current trajectory; value, jacobian: those of the step at each of its states
    """

    def __init__(
        self,
        step: Step,
        linearize: Linearize,
        bx: Tensor,
        entry: Tensor,
        tile: Tile,
        tol: float,
        scan: Scan,
    ) -> None:
        self.step, self.linearize_step, self.scan = step, linearize, scan
        self.bx, self.entry, self.tile, self.tol = bx, entry, tile, tol
        # The first guess takes zeros for the states in between, so no step waits for another.
        guess_from = bx.new_zeros(bx.shape[0], *entry.shape[1:])
        guess_from[tile.first] = entry
        self.h = step(guess_from, bx)
        self.linearize()

    def linearize(self) -> None:
        """Compute the step and its Jacobian at every time of the trajectory."""
        self.value, self.jacobian = self.linearize_step(self.previous(), self.bx)

    def previous(self) -> Tensor:
        """Return the state before each time (n, N, D)."""
        # At a sequence's first row roll brings in a state of another one, which is replaced.
        previous = self.h.roll(1, 0)
        previous[self.tile.first] = self.entry
        return previous

    def run(self, options: NewtonOptions) -> NewtonResult:
        """Update h until every unit has converged or max_iterations is reached; then solve failed units."""
        iterations, failed = 0, self.units(torch.ones_like(self.h, dtype=torch.bool))
        while iterations < options.max_iterations and bool(failed.any()):
            update = self.scan(self.jacobian, self.value - self.h, self.tile)
            self.h = self.h + update
            self.linearize()
            # An update alone may be small far from a solution.
            failed = self.units(~(self.small(update) & self.small(self.value - self.h)))
            iterations += 1
        fallbacks = int(failed.sum()) if options.fallback else 0
        if fallbacks:
            self.solve_sequentially(failed)
        residual = float(self.residual())
        finite = bool(self.h.isfinite().all())
        # The fallback does not guarantee it: a step that mixes rows gives other values beside other rows.
        exact = residual <= largest_residual(self.h.dtype, self.tol)
        converged = finite and exact and (options.fallback or not bool(failed.any()))
        return NewtonResult(iterations, residual, converged, fallbacks, failed.numel())

    def residual(self) -> Tensor:
        """Return the largest residual, also that of two rows computed alone."""
        # A step that mixes rows has a small residual in the batch and a large one alone.
        previous, sampled = self.previous(), [0, -1]
        alone = [self.step(previous[i, None], self.bx[i, None]) for i in sampled]
        value, h = torch.cat((self.value, *alone)), torch.cat((self.h, self.h[sampled]))
        return ((value - h).abs() / (1 + h.abs())).max()

    def small(self, error: Tensor) -> Tensor:
        """Return a mask that is True where error (n, N, D) is within tolerance, and False for NaN."""
        return error.abs() <= self.tol * (1 + self.h.abs())

    def units(self, failed: Tensor) -> Tensor:
        """Reduce failed (n, N, D) to a mask of units: (active, D), or (active, 1) if channels mix."""
        channels = failed.any(1) if self.jacobian.dim() == 4 else failed.flatten(1).any(1, keepdim=True)
        sequence = self.tile.starts.cumsum(0) - 1
        count = channels.new_zeros(self.tile.active, channels.shape[1], dtype=torch.int32)
        return count.index_add_(0, sequence, channels.int()) > 0

    def solve_sequentially(self, failed: Tensor) -> None:
        """Solve the units in failed (active, D or 1) step by step. Other units keep every bit."""
        lengths = self.tile.last - self.tile.first + 1
        again = failed.any(1)
        rows = again.repeat_interleave(lengths)
        cu_seqlens = torch.cat((lengths.new_zeros(1), lengths[again].cumsum(0))).int()
        exact = sequential_solve(self.step, self.bx[rows], self.entry[again], cu_seqlens)
        replaced = failed[again].repeat_interleave(lengths[again], 0).unsqueeze(1)
        self.h[rows] = torch.where(replaced, exact, self.h[rows])
        # The residual is taken from these values, so they must be those of the new states.
        self.value = self.step(self.previous(), self.bx)
