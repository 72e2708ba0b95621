"""Timing on a device, by CUDA events, or by the wall clock on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pararnn_server.bench.timing import Repetition, Spread, interleaved

from pararnn_core.ops.devices import seconds_on

_FLUSHED_BYTES = 512 << 20
"""Bytes written to empty the L2 cache: ten times the largest. Meanwhile the host queues the work."""


class DeviceClock:
    """A clock for repetitions of work on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        size = _FLUSHED_BYTES if device.type == "cuda" else 0
        self._flushed = torch.empty(size, dtype=torch.uint8, device=device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds of one call, with the caches as they are."""
        return seconds_on(self.device, work)

    def cold(self, work: Callable[[], object]) -> Repetition:
        """Return a repetition with an empty L2 cache. The emptying hides the time of the launch."""

        def repeat() -> float:
            self._flushed.zero_()
            return self.seconds(work)

        return repeat

    def compare(self, cases: Mapping[str, Repetition], rounds: int, time_limit: float) -> dict[str, Spread]:
        """Measure all cases in turn, without pauses, because no thread spins after its work here."""
        return interleaved(
            cases, rounds=rounds, time_limit=time_limit, progress=lambda _: None, rest=lambda _: None
        )
