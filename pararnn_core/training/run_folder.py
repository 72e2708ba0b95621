"""A training run on disk: its facts, its log (one JSON object a line) and the state to resume from."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

Row = dict[str, float]
FACTS = "run.json"


class RunFolder:
    """The folder of a run, for one process at a time.

    Raises FileExistsError if it already has a run and resume is False, FileNotFoundError if there is nothing
    to resume, and BlockingIOError if another process trains there.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.log_file = path / "log.jsonl"
        self.state_file = path / "state.pt"
        self.facts_file = path / FACTS
        if resume and not self.state_file.is_file():
            raise FileNotFoundError(f"nothing to resume: no {self.state_file}")
        if not resume and self.state_file.exists():
            raise FileExistsError(f"{path} holds a run: add --resume to continue it, or delete it")
        path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BlockingIOError(f"another process trains in {path}") from None
        if not resume:
            # A run that ended before its first saved state may have left a log.
            self.log_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the folder for other processes."""
        os.close(self._lock)

    def log(self, row: Row) -> None:
        """Append a row to the log."""
        with self.log_file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[Row]:
        """Return all rows of the log, except a last one that a kill truncated."""
        rows = []
        for line in self.log_file.read_text().splitlines() if self.log_file.exists() else ():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def forget_after(self, step: int) -> None:
        """Delete the rows that a killed run logged after its last saved state."""
        rows = [row for row in self.rows() if row["step"] <= step]
        _replace(self.log_file, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Write the facts of the run that do not change."""
        _replace(self.facts_file, (json.dumps(facts, indent=2) + "\n").encode())

    def facts(self) -> dict[str, Any]:
        """Return the facts of the run."""
        facts: dict[str, Any] = json.loads(self.facts_file.read_text())
        return facts

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state. After a crash or a power cut the folder has this one or the previous."""
        partial = self.state_file.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.state_file)
        _sync(self.path)

    def load_state(self) -> dict[str, Any]:
        """Return the state that save_state wrote, on the CPU."""
        state: dict[str, Any] = torch.load(self.state_file, map_location="cpu", weights_only=True)
        return state


def _replace(file: Path, data: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(partial, file)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
