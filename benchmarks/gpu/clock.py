"""Timing on a device: by CUDA events there, by the wall clock on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pararnn_server.bench.timing import Repetition, Spread, interleaved

from pararnn_core.ops.devices import seconds_on

_FLUSHED_BYTES = 512 << 20
"""Ten times the largest L2 cache, and long enough to write that the host is ahead with the work by then."""


class DeviceClock:
    """Repetitions of work on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        size = _FLUSHED_BYTES if device.type == "cuda" else 0
        self._flushed = torch.empty(size, dtype=torch.uint8, device=device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one call, with caches as they are."""
        return seconds_on(self.device, work)

    def cold(self, work: Callable[[], object]) -> Repetition:
        """With nothing of it in the L2 cache. The launch is hidden behind what empties the cache."""

        def repeat() -> float:
            self._flushed.zero_()
            return self.seconds(work)

        return repeat

    def compare(self, cases: Mapping[str, Repetition], rounds: int, time_limit: float) -> dict[str, Spread]:
        """All in turn; nobody spins after its work here, so that none needs a rest before it."""
        return interleaved(
            cases, rounds=rounds, time_limit=time_limit, progress=lambda _: None, rest=lambda _: None
        )
