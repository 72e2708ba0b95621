"""Measurement of `pararnn serve` in a separate process, with streams over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError
from urllib.request import urlopen

from pararnn_server.bench.timing import Spread
from pararnn_server.settings.server_settings import Settings

from benchmarks.load import Load, StreamTimes, run_load

_START_SECONDS = 120.0


class ServerNotReady(RuntimeError):
    """Error: the server ended or did not become ready. The message has its output."""


@dataclass(frozen=True)
class Pass:
    """One pass of one load. Times in seconds."""

    tokens_per_second: float
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float


@dataclass(frozen=True)
class ServingFigures:
    """Figures of all passes of one load: tokens/s with their spread, and median times in seconds."""

    streams: int
    tokens_per_second: Spread
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float

    @classmethod
    def of(cls, streams: int, passes: list[Pass]) -> ServingFigures:
        """Summarise passes, of which there is at least one."""
        return cls(
            streams=streams,
            tokens_per_second=Spread.of([each.tokens_per_second for each in passes]),
            ttft_p50=statistics.median(each.ttft_p50 for each in passes),
            ttft_p99=statistics.median(each.ttft_p99 for each in passes),
            itl_p50=statistics.median(each.itl_p50 for each in passes),
            itl_p99=statistics.median(each.itl_p99 for each in passes),
        )


@dataclass(frozen=True)
class Server:
    """A server that is ready. ready_seconds: from its start until it was ready."""

    port: int
    pid: int
    ready_seconds: float

    @property
    def resident_bytes(self) -> int:
        """Return the process's resident memory."""
        fields = Path(f"/proc/{self.pid}/status").read_text().split()
        return int(fields[fields.index("VmRSS:") + 1]) * 1024


@contextlib.contextmanager
def serving(checkpoint: Path, threads: int) -> Iterator[int]:
    """Run `pararnn serve` on this machine, and yield its port when it is ready."""
    with pararnn_server(checkpoint, threads) as server:
        yield server.port


@contextlib.contextmanager
def pararnn_server(checkpoint: Path, threads: int, **others: object) -> Iterator[Server]:
    """Run `pararnn serve` on this machine, and yield it when it is ready. others: settings by name."""
    ours = {f"PARARNN_{name.upper()}" for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    options = {"checkpoint": checkpoint, "host": "127.0.0.1", "threads": threads, "max_num_seqs": 64}
    options |= {"store": "memory", **others}
    environment |= {f"PARARNN_{name.upper()}": str(value) for name, value in options.items()}

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "pararnn_server", "serve", f"--port={port}"]

    with server_process(command, ready_at="/ready", environment=environment) as server:
        yield server


@contextlib.contextmanager
def server_process(
    command: Callable[[int], list[str]], *, ready_at: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server, and yield it when it answers `ready_at` with 200. Raises ServerNotReady if it does not.

    command: the command for a port
    """
    port = _free_port()
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(command(port), env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(port, ready_at, process, output)
            yield Server(port, process.pid, time.monotonic() - start)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def measure(port: int, load: Load, seed: int) -> Pass:
    """Run one pass of the load."""
    start = time.perf_counter()
    streams = asyncio.run(run_load(port, load, seed))
    return summary(streams, time.perf_counter() - start)


def summary(streams: list[StreamTimes], taken: float) -> Pass:
    """Summarise the streams of a pass. taken: seconds from the first request to the last token."""
    first = [each.first for each in streams]
    between = [gap for each in streams for gap in each.between]
    return Pass(
        tokens_per_second=sum(each.completion_tokens for each in streams) / taken,
        ttft_p50=percentile(first, 50),
        ttft_p99=percentile(first, 99),
        itl_p50=percentile(between, 50),
        itl_p99=percentile(between, 99),
    )


def percentile(values: list[float], percent: int) -> float:
    """Return the least value that at least `percent` percent do not exceed; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, path: str, process: subprocess.Popen[bytes], output: BinaryIO) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        # A server that does not listen yet.
        with (
            contextlib.suppress(URLError, OSError),
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.02)
    output.seek(0)
    raise ServerNotReady(output.read().decode(errors="replace"))
