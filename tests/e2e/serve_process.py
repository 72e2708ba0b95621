"""`pararnn serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "k" * 20
"""A key for servers that need one."""
START_SECONDS = 120


class ServeProcess:
    """Started on a free port; `welcome` is what it has printed once it serves."""

    def __init__(self, checkpoint: Path, *options: str) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PARARNN_") or name == "PARARNN_LIBRARY"
        }
        # No test leaves a file in the user's directories.
        environment["PARARNN_STORE"] = "memory"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pararnn_server",
                "serve",
                "--checkpoint",
                str(checkpoint),
                "--port",
                "0",
                *options,
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.welcome = self._read_welcome()

    def _read_welcome(self) -> str:
        """Everything up to the example's curl command; ends too if the server does."""
        give_up = threading.Timer(START_SECONDS, self.process.kill)
        give_up.start()
        lines = []
        for line in self.process.stdout or ():
            lines.append(line)
            if "curl" in line:
                break
        give_up.cancel()
        return "".join(lines)

    @property
    def url(self) -> str:
        """http://host:port"""
        found = re.search(r"http://127\.0\.0\.1:\d+", self.welcome)
        assert found, self.welcome
        return found.group()

    @property
    def peak_memory(self) -> int:
        """Bytes: the most that was ever resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) * 1024

    @property
    def resident_memory(self) -> int:
        """Bytes resident now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) * 1024

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serve_process(checkpoint: Path, *options: str) -> Iterator[ServeProcess]:
    """Killed at the end if it still runs."""
    started = ServeProcess(checkpoint, *options)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()
