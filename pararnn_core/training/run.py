"""One run as `pararnn train` makes it: a new or a resumed one, until its budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pararnn_core import ops
from pararnn_core.training.held_out import HeldOutProbe
from pararnn_core.training.memory import keep_freed_memory
from pararnn_core.training.prepare import Prepared
from pararnn_core.training.run_folder import Row, RunFolder
from pararnn_core.training.schedule import Budget
from pararnn_core.training.trainer import Trainer

# Probes take at most a twentieth of the time.
PROBE_SECONDS = 20.0
PROBE_SHARE = 20


@dataclass(frozen=True)
class Report:
    """The state of a run after a step. held_out: bits per byte at the last probe; left: seconds."""

    row: Row
    tokens_per_second: float
    left: float
    held_out: float | None


class Run:
    """A run of a prepared folder. A folder with a saved state is resumed."""

    def __init__(self, data: Prepared, folder: RunFolder) -> None:
        """Raises ValueError if the text is too short for the sequences."""
        plan = data.plan
        use_threads(plan.threads)
        self.folder = folder
        self.trainer = Trainer(data.config, plan.recipe, data.training, folder, plan.device)
        elapsed = self.trainer.restore() if folder.state_file.is_file() else 0.0
        steps = [plan.steps] if plan.steps else []
        if plan.epochs is not None or (plan.steps is None and plan.minutes is None):
            steps.append(self._steps_of(plan.epochs or 1.0))
        self.budget = Budget(min(steps, default=None), plan.minutes, elapsed)
        self.probe = HeldOutProbe(data.held_out, data.held_out_bytes)
        if not elapsed:
            self.trainer.save(self.budget)
        self._held_out: float | None = None
        self._probed, self._probe_took = time.monotonic(), 0.0

    def train(self, on_step: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
        """Train and save; return False if should_stop() ended the run early. Raises DivergedError."""
        pace = _Pace(self.budget, self.trainer)

        def handle(row: Row) -> None:
            if self._probe_is_due():
                start = time.monotonic()
                self._held_out = self.probe.bits_per_byte(self.trainer.forward)
                row["held_out_bits_per_byte"] = self._held_out
                self._probed = time.monotonic()
                self._probe_took = self._probed - start
            self.folder.log(row)
            self.trainer.save_when_due(self.budget)
            on_step(Report(row, *pace(row), self._held_out))

        ended = self.trainer.run(self.budget, handle, should_stop)
        self.trainer.save(self.budget)
        return ended

    def _probe_is_due(self) -> bool:
        waited = time.monotonic() - self._probed
        return waited >= max(PROBE_SECONDS, PROBE_SHARE * self._probe_took)

    def _steps_of(self, epochs: float) -> int:
        windows = epochs * self.trainer.windows.windows_per_epoch
        return max(1, math.ceil(windows / (self.trainer.tokens_per_step // self.trainer.recipe.seq_len)))


class _Pace:
    """Speed over the last steps, and the seconds left."""

    def __init__(self, budget: Budget, trainer: Trainer) -> None:
        self._budget, self._tokens = budget, trainer.tokens_per_step
        self._last = time.monotonic()
        self._seconds: float | None = None

    def __call__(self, row: Row) -> tuple[float, float]:
        """Return tokens per second and seconds left, after a step."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        # The first step compiles. An average over about 20 steps is calm enough to read.
        first = self._seconds is None
        self._seconds = (
            seconds
            if first
            else 0.95 * float(self._seconds or 0.0) + 0.05 * min(seconds, 5 * float(self._seconds or seconds))
        )
        if row["step"] <= 2:
            self._seconds = seconds
        return self._tokens / max(self._seconds, 1e-9), self._left(int(row["step"]))

    def _left(self, step: int) -> float:
        limits = []
        if self._budget.max_steps is not None:
            limits.append((self._budget.max_steps - step) * float(self._seconds or 0.0))
        if self._budget.max_minutes is not None:
            limits.append(60 * self._budget.max_minutes - self._budget.seconds())
        return max(0.0, min(limits))


def use_threads(count: int) -> None:
    """Use this many threads for torch and the native kernels, and keep freed memory."""
    torch.set_num_threads(count)
    if ops.is_available():
        ops.set_num_threads(count)
    keep_freed_memory()
