"""`make gpu-sanitize`, with a substitute of compute-sanitizer."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("does", "passes"),
    [
        ("exit 0", True),
        ("exit 1", False),
        ("exec sleep 60", False),
        ("trap 'exit 0' TERM; sleep 60 & wait", False),
    ],
)
def test_sanitizer_passes_only_what_ran_to_its_end(does: str, passes: bool, tmp_path: Path) -> None:
    tool = tmp_path / "compute-sanitizer"
    # Torch's cache would hide accesses beyond a tensor's end.
    tool.write_text(f'#!/bin/sh\n[ "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 ] || exit 7\n{does}\n')
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "--no-print-directory", "gpu-sanitize", "SANITIZER_SECONDS=0.3"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert (done.returncode == 0) == passes
    assert ("broken off after 0.3 s" in done.stdout) == ("sleep" in does)
