"""`pararnn serve` as a person starts it: a process that says where it is and ends on SIGTERM."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures import tiny_checkpoint


class ServeProcess:
    """A running `pararnn serve` and what it has printed so far."""

    def __init__(self, checkpoint: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PARARNN_PORT"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pararnn_server", "serve", "--checkpoint", str(checkpoint), "--port", "0"],
            env=environment | {"PARARNN_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def welcome(self) -> str:
        """Everything up to the example's curl command."""
        give_up = threading.Timer(120, self.process.kill)
        give_up.start()
        lines = []
        for line in self.process.stdout or ():
            lines.append(line)
            if "curl" in line:
                break
        give_up.cancel()
        return "".join(lines)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeProcess]:
    started = ServeProcess(tiny_checkpoint(tmp_path / "tiny"))
    yield started
    started.process.kill()
    started.process.communicate()


def test_the_example_that_serve_prints_streams_and_sigterm_ends_it(serve: ServeProcess) -> None:
    welcome = serve.welcome()
    assert re.search(r"tiny is served on http://127\.0\.0\.1:\d+", welcome)
    assert re.search(r"1 threads, instruction set level \w+", welcome)

    words = shlex.split(welcome.strip().splitlines()[-1])
    url = next(word for word in words if word.startswith("http"))
    body = json.loads(words[words.index("-d") + 1])
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        assert response.status_code == 200
        assert response.read().rstrip().endswith(b"data: [DONE]")

    serve.process.send_signal(signal.SIGTERM)
    assert serve.process.wait(timeout=60) == 0
