"""Limits of the machine: bytes read and products added in a second by all threads together."""

from __future__ import annotations

import mmap

import torch

from pararnn_core import ops
from pararnn_server.bench.timing import Spread, interleaved, seconds

_HUGE_PAGE = 2 << 20
_LINES = 256
_LEAST_BYTES_READ = 256 << 20
_LEAST_MULTIPLY_SECONDS = 0.05
_FIRST_ROUNDS = 100_000
_BANDWIDTH_SECONDS = 5.0


class ReadBuffer:
    """Memory on huge pages, where the system grants them, of which any first part can be read."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Rounded up to lines of every thread, a part may be longer than the size asked for.
        whole = -(-(size + _LINES * ops.num_threads()) // _HUGE_PAGE) * _HUGE_PAGE
        # One page more, because mmap need not begin at a huge page.
        memory = mmap.mmap(-1, whole + _HUGE_PAGE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        room = torch.frombuffer(memory, dtype=torch.uint8)
        start = -room.data_ptr() % _HUGE_PAGE
        # Written, because pages never written are all the same page of zeros.
        self._data = room[start : start + whole].fill_(1)

    def reader(self, size: int) -> Reader:
        """Return a reader of the first `size` bytes, rounded up to whole lines of every thread.

        Raises ValueError if the buffer has fewer, RuntimeError if threads were added since.
        """
        if not 0 < size <= self._size:
            raise ValueError(f"size must be 1 to {self._size}, got {size}")
        step = _LINES * ops.num_threads()
        wanted = -(-size // step) * step
        if wanted > len(self._data):
            raise RuntimeError("more threads than when the buffer was made")
        return Reader(self._data[:wanted])


class Reader:
    """Reads memory over and over, each thread its own part of it."""

    def __init__(self, data: torch.Tensor) -> None:
        self._data = data
        # A small part read once takes too little time for the clock and the start of threads.
        self._passes = max(1, _LEAST_BYTES_READ // len(data))

    @property
    def bytes_per_repetition(self) -> int:
        """All threads and passes together."""
        return len(self._data) * self._passes

    def repeat(self) -> float:
        """Seconds of one repetition."""
        return seconds(lambda: ops.read_bytes(self._data, self._passes))

    def rate(self, taken: Spread) -> Spread:
        """Seconds of repetitions -> bytes per second."""
        return taken.map(lambda each: self.bytes_per_repetition / each)


class Multiplier:
    """Multiply-adds in registers, without memory: the peak of a product kernel.

    unit: "float32", or "int8" for products of bytes added up as 32-bit integers.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._rounds, taken = _FIRST_ROUNDS, 0.0
        # Doubled until a repetition is long beside the start of the threads.
        while taken < _LEAST_MULTIPLY_SECONDS:
            self._rounds *= 2
            taken = self.repeat()
        self.operations = 2 * ops.multiply_add(unit, self._rounds)

    def repeat(self) -> float:
        """Seconds of one repetition of `operations` operations, two to a multiply-add."""
        return seconds(lambda: ops.multiply_add(self._unit, self._rounds))

    def rate(self, taken: Spread) -> Spread:
        """Seconds of repetitions -> operations per second."""
        return taken.map(lambda each: self.operations / each)


def read_bandwidth(size: int, repetitions: int = 5) -> Spread:
    """Return bytes per second that all threads read from a buffer of `size` bytes on huge pages.

    Weights are read once a token and cannot be read faster: size / bandwidth is the least time of a decode
    step. It is timed as `measure` times it, so that both give one figure.
    """
    torch.set_num_threads(1)  # torch's threads spin for a while after they have filled the buffer
    reader = ReadBuffer(size).reader(size)
    times = interleaved(
        {"read": reader.repeat}, rounds=repetitions, time_limit=_BANDWIDTH_SECONDS, progress=lambda _: None
    )
    return reader.rate(times["read"])
