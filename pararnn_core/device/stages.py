"""How long the stages of a step take on a device that works on its own time."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pararnn_core.ops import STEP_STAGES


class StageClock:
    """Adds the seconds of each stage to `seconds` (len(STEP_STAGES),) float64.

    Waits for the device between stages, so that a step that is measured is slower than others.
    """

    def __init__(self, seconds: Tensor, device: torch.device) -> None:
        if tuple(seconds.shape) != (len(STEP_STAGES),) or seconds.dtype != torch.float64:
            shape = tuple(seconds.shape)
            raise ValueError(
                f"stage_seconds: expected ({len(STEP_STAGES)},) float64, got {shape} {seconds.dtype}"
            )
        self._seconds = seconds
        self._device = device
        self._stage: int | None = None
        self._began = 0.0

    def mark(self, stage: str) -> None:
        """What comes now is this stage."""
        self.stop()
        self._stage, self._began = STEP_STAGES.index(stage), time.perf_counter()

    def stop(self) -> None:
        """The last stage is over."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if self._stage is not None:
            self._seconds[self._stage] += time.perf_counter() - self._began
        self._stage = None


def unmeasured(stage: str) -> None:
    """In the place of StageClock.mark where nobody asked."""
