"""The parts of a run, the most important first, because time may end before the last."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pararnn_server.bench.core import CHUNK

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.found import Found
from benchmarks.gpu.limits import measure_limits
from benchmarks.gpu.model import measure_decodes, measure_longest, measure_prefills, measure_stages
from benchmarks.gpu.scans import measure_loops, measure_scans
from benchmarks.gpu.sizes import Sizes
from benchmarks.original import measure_all

GROUPS = ("scans", "model", "server")


@dataclass(frozen=True)
class Setting:
    """Settings of a run. end: its end by time.monotonic; original: a checkout of the original's code."""

    sizes: Sizes
    clock: DeviceClock
    device_name: str
    end: float
    original: Path | None = None

    @property
    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Part:
    """A part of a run. group: of GROUPS, or empty if every run has it; share: of the run's time.

    least: seconds that it needs; measure(setting, found, left): adds figures, fewer if left() is short
    """

    name: str
    group: str
    share: float
    measure: Callable[[Setting, Found, Callable[[], float]], None]
    least: float = 0.0


def _limits(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    found.limits = measure_limits(setting.sizes, setting.clock, setting.device_name, left())


def _decodes(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    found.decodes += measure_decodes(setting.sizes, setting.clock, left())


def _prefills(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    measure_prefills(setting.sizes, setting.clock, found.prefills, found.notes, left)


def _scans(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    measure_scans(setting.sizes, setting.clock, found.scans, found.notes, left)


def _loops(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    measure_loops(setting.sizes, setting.clock, found.loops, found.notes, left)


def _original(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    if setting.original is None:
        found.notes.append("The original's fused kernel is absent: --original names no checkout of its code.")
        return
    sizes, device = setting.sizes, setting.clock.device
    figures, notes = measure_all(setting.original, device, sizes.originals, sizes.rounds, left)
    found.originals += figures
    found.notes += notes


def _server(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    """Measure the server. If its packages are missing, add a note instead."""
    try:
        served = importlib.import_module("benchmarks.gpu.served")
    except ImportError as error:
        found.notes.append(
            f"The server is left out: {error}. benchmarks/README.md says which wheels to carry (WHEELS=...)."
        )
        return
    found.served.append(served.measure_served(setting.sizes, setting.clock, left))


def _stages(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    found.profiles += measure_stages(setting.sizes, setting.clock)


def _longest(setting: Setting, found: Found, left: Callable[[], float]) -> None:
    """Measure the longest prefill if earlier ones predict that it ends in time."""
    tokens = setting.sizes.longest_prompt
    known = [each.tokens / each.seconds.median for each in found.prefills if each.chunk == CHUNK]
    rate = max(known, default=None)
    if rate is not None and tokens / rate > setting.left:
        found.notes.append(
            f"Left out for want of time: a prompt of {tokens:,} tokens, at {rate:,.0f} tokens/s."
        )
        return
    measure_longest(setting.sizes, setting.clock, found.prefills)


PARTS = (
    Part("limits", "", 0.04, _limits),
    Part("decodes", "model", 0.15, _decodes),
    Part("prefills", "model", 0.2, _prefills),
    Part("scans", "scans", 0.28, _scans),
    Part("time loops", "scans", 0.06, _loops),
    Part("original", "scans", 0.08, _original),
    Part("server", "server", 0.2, _server, least=40.0),
    Part("stages", "model", 0.02, _stages),
    Part("longest prompt", "model", 0.05, _longest),
)
