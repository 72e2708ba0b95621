"""llama.cpp's own server, if it is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serving import server_process

_LONGEST_SEQUENCE = 8192


@contextlib.contextmanager
def llama_serving(binary: str, model: Path, threads: int, streams: int) -> Iterator[int]:
    """Run a server with a slot for each stream, and yield its port when it is ready.

    Its cache of prompts and its checkpoints of states are off, because they cost a third of its speed.
    """

    def command(port: int) -> list[str]:
        options = {
            "model": model,
            "port": port,
            "host": "127.0.0.1",
            "threads": threads,
            "threads-batch": threads,
            "parallel": streams,
            "ctx-size": streams * _LONGEST_SEQUENCE,
            "cache-ram": 0,
            "ctx-checkpoints": 0,
        }
        return [binary, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]

    with server_process(command, ready_at="/health") as server:
        yield server.port
