"""Time of the stages of a step on a device that runs asynchronously."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from pararnn_core.ops import STEP_STAGES


class StageClock:
    """A clock that adds the seconds of each stage to `seconds` (len(STEP_STAGES),) float64.

    It waits for the device between stages, so a measured step is slower than others.
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
        """Begin a stage, and end the one before."""
        self.stop()
        self._stage, self._began = STEP_STAGES.index(stage), time.perf_counter()

    def stop(self) -> None:
        """End the last stage."""
        if self._device.type == "cuda":
            # Launches return before their work is done.
            torch.cuda.synchronize(self._device)
        if self._stage is not None:
            self._seconds[self._stage] += time.perf_counter() - self._began
        self._stage = None


def unmeasured(stage: str) -> None:
    """Do nothing, in the place of StageClock.mark in a step that is not measured."""
