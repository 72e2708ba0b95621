"""Limits of the device, measured in the same run as the figures that are compared with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pararnn_server.bench.timing import Repetition, Spread
from torch import Tensor

from benchmarks.gpu.clock import DeviceClock
from benchmarks.gpu.sizes import Sizes
from pararnn_core.device.graphs import CudaCapturer
from pararnn_core.ops.devices import multiprocessors

LAUNCHES = 200
_SPUN_CYCLES = 20_000_000

READERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum of float32": torch.sum,
    "maximum of float32": torch.amax,
    "sum of bfloat16": lambda data: data.view(torch.bfloat16).sum(dtype=torch.float32),
    "matrix times vector in bfloat16": lambda data: _matrix_times_vector(data.view(torch.bfloat16)),
}
"""Torch operations that read all of some memory. The fastest gives the read bandwidth."""


@dataclass(frozen=True)
class DeviceLimits:
    """Limits: rates in bytes, operations and cycles per second; None if the device has no such limit.

    copy: bytes read and bytes written together; reader: the fastest of READERS
    launch: seconds of a nearly empty kernel that is launched alone; node: the same in a graph
    """

    device: str
    multiprocessors: int | None
    clock: float | None
    copy: Spread
    read: Spread
    reader: str
    matrix: Spread
    launch: Spread
    node: Spread | None


def measure_limits(sizes: Sizes, clock: DeviceClock, device_name: str, seconds: float) -> DeviceLimits:
    """Measure the limits in about this many seconds."""
    device = clock.device
    source = torch.empty(sizes.copied // 4, device=device).normal_()
    target = torch.empty_like(source)
    square = torch.randn(sizes.matrix, sizes.matrix, device=device).to(torch.bfloat16)
    cases: dict[str, Repetition] = {
        "copy": lambda: clock.seconds(lambda: target.copy_(source)),
        "matrix": lambda: clock.seconds(lambda: square @ square),
        **{name: _reading(clock, read, source) for name, read in READERS.items()},
        **_launches(clock),
    }
    taken = clock.compare(cases, sizes.rounds, seconds)
    reader = min(READERS, key=lambda name: taken[name].median)
    on_gpu = device.type == "cuda"
    return DeviceLimits(
        device=device_name,
        multiprocessors=multiprocessors(device) if on_gpu else None,
        clock=_clock_rate(clock) if on_gpu else None,
        copy=taken["copy"].map(lambda each: 2 * source.nbytes / each),
        read=taken[reader].map(lambda each: source.nbytes / each),
        reader=reader,
        matrix=taken["matrix"].map(lambda each: 2 * sizes.matrix**3 / each),
        launch=taken["launch"].map(lambda each: each / LAUNCHES),
        node=taken["node"].map(lambda each: each / LAUNCHES) if on_gpu else None,
    )


def _reading(clock: DeviceClock, read: Callable[[Tensor], Tensor], data: Tensor) -> Repetition:
    return lambda: clock.seconds(lambda: read(data))


def _matrix_times_vector(data: Tensor) -> Tensor:
    columns = 1 << 12
    matrix = data.view(-1, columns)
    return matrix @ torch.ones(columns, dtype=data.dtype, device=data.device)


def _launches(clock: DeviceClock) -> dict[str, Repetition]:
    one = torch.zeros(1, device=clock.device)

    def many() -> Tensor:
        for _ in range(LAUNCHES):
            one.add_(1)
        return one

    cases: dict[str, Repetition] = {"launch": lambda: clock.seconds(many)}
    if clock.device.type == "cuda":
        many()
        replay = CudaCapturer(clock.device).capture(many).replay
        cases["node"] = lambda: clock.seconds(replay)
    return cases


def _clock_rate(clock: DeviceClock) -> float:
    """Return the clock rate in cycles per second, while a kernel waits for its multiprocessor's counter."""

    def spin() -> None:
        torch.cuda._sleep(_SPUN_CYCLES)  # type: ignore[no-untyped-call]  # torch's

    clock.seconds(spin)
    return _SPUN_CYCLES / clock.seconds(spin)
