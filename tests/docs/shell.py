"""The commands of a document, run in one shell, so that a variable of one is there for the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docs.markdown_blocks import ROOT, Example

END = "<end of block>"
SECONDS = 120


def run_in_one_shell(
    found: Sequence[Example], addresses: Mapping[str, str], folder: Path, skipped: Sequence[str]
) -> list[str]:
    """Run the blocks and return their outputs. Fails at the first command that fails.

    addresses: in the document -> of a server that runs; skipped: beginnings of commands that do not run here
    folder: the working directory, to which the programs of this Python and the checkpoints are linked
    """
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    script = ["set -eu"]
    for example in found:
        if example.command.language != "bash":
            script.append(f"echo '{END}'")
            continue
        command = without(example.command.text, skipped)
        for written, real in addresses.items():
            command = command.replace(written, real)
        script.append(f"{command}\necho\necho '{END}'")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120", "PARARNN_URL": addresses["http://127.0.0.1:8000"]},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    outputs = done.stdout.split(f"{END}\n")[:-1]
    if done.returncode:
        failed = found[len(outputs)]
        raise AssertionError(f"{failed} failed:\n{failed.command.text}\n{done.stderr[-2000:]}")
    return outputs


def without(text: str, skipped: Sequence[str]) -> str:
    """Remove the commands, with their continued lines, that begin so."""
    kept, dropping = [], False
    for line in text.splitlines():
        dropping = dropping or line.startswith(tuple(skipped))
        if not dropping:
            kept.append(line)
        dropping = dropping and line.endswith("\\")
    return "\n".join(kept)
