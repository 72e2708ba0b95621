"""Standard streams that are closed, and bytes that are no text."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pararnn_client import PararnnClient
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.server.engine_fixtures import until
from tests.server.http_server import serving

CLOSED = """
import os, sys
for descriptor in {closed}:
    os.close(descriptor)
os.execv(sys.executable, [sys.executable, "-m", "pararnn_server", *sys.argv[1:]])
"""
OPENED = """
import os, sys, tempfile
for descriptor in {closed}:
    os.close(descriptor)
    setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)
from pararnn_server.commands.standard_streams import open_standard_streams
open_standard_streams()
sys.stdin.readline(), print(), print(file=sys.stderr)
assert tempfile.TemporaryFile().fileno() > 2
"""
NOT_UTF8 = os.fsdecode(b"caf\xe9")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARARNN_")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_are_opened_and_their_numbers_stay_theirs(closed: tuple[int, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPENED.format(closed=closed)], env=_environment(), timeout=60, check=False
    )
    assert done.returncode == 0


def test_a_server_without_streams_answers_and_ends(checkpoint: Path) -> None:
    """libuv ends the process when it closes a socket that has the number of a standard stream."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ("--checkpoint", str(checkpoint), "--port", str(port), "--store", "memory")
    program = [sys.executable, "-c", CLOSED.format(closed=(0, 1, 2)), "serve", *options]
    with subprocess.Popen(program, env=_environment()) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _is_ready(url), seconds=120)
            with PararnnClient(url) as client:
                assert client.complete("a", max_tokens=1).usage.completion_tokens == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_a_checkpoint_whose_folder_is_no_text_is_served(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path / NOT_UTF8)
    with serving(load(Settings(checkpoint=str(path)))) as server:
        [model] = server.get("/v1/models").json()["data"]
        assert model["id"] == "caf\N{REPLACEMENT CHARACTER}"
        with PararnnClient(server.url) as client:
            assert client.sessions.create(text="a").model == model["id"]


def test_bytes_that_are_no_text_end_no_command(tmp_path: Path) -> None:
    """Bytes in the checkpoint's folder, in an option and in the input."""
    path = str(tiny_checkpoint(tmp_path / NOT_UTF8))
    # With another seed the only token might be an end of text.
    options = ["--raw", "--checkpoint", path, "--system", NOT_UTF8, "--max-tokens", "1", "--seed", "1"]
    program = [sys.executable, "-m", "pararnn_server", "chat", *options]
    done = subprocess.run(
        program, input=b"caf\xe9\n", capture_output=True, env=_environment(), timeout=120, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"1 tokens" in done.stderr
