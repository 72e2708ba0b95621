"""`make serve`: the last line is the server's, and the exit status tells of its failure."""

import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "prefix", [[], ["sh", "-c", "trap '' PIPE; exec \"$@\"", "sh"]], ids=["", "PIPE ignored"]
)
@pytest.mark.parametrize("code", [0, 1])
def test_make_ends_with_the_servers_last_line(prefix: list[str], code: int, tmp_path: Path) -> None:
    server = tmp_path / "pararnn"
    server.write_text(f'#!/bin/sh\necho "pararnn: $*" >&2\nexit {code}\n')
    server.chmod(0o755)
    make = ["make", "--no-print-directory", "--old-file=.venv/.installed", f"BIN={tmp_path}"]
    done = subprocess.run(
        [*prefix, *make, "serve", "ARGS=--port 8001"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if prefix and code:
        # No signal reaches make then, and it says the error in its own way.
        assert done.returncode == 2
        return
    assert (done.returncode, done.stdout) == (-signal.SIGPIPE if code else 0, "")
    assert done.stderr == "pararnn: serve --port 8001\n"
