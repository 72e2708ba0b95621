"""A training run on disk: a lock, the saved state and the one before it, and the curve as JSON lines."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]
PROCESS_FILE = "process"
LOCK_FILE = "lock"
STATE_FILES = ("state.pt", "state.previous.pt")
UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


class RunFolder:
    """The folder of a run, for one process at a time. Raises BlockingIOError if another one trains there."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.state_file, self.previous_file = (path / name for name in STATE_FILES)
        self.curve_file = path / "curve.jsonl"
        self._lock = os.open(path / LOCK_FILE, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BlockingIOError(f"another process trains in {path}") from None
        (path / PROCESS_FILE).write_text(str(os.getpid()))

    def close(self) -> None:
        """Release the folder's lock."""
        os.close(self._lock)

    def save(self, state: State) -> None:
        """Save a state. A crash at any moment leaves at least one whole state, this one or the previous."""
        partial = self.path / "state.partial.pt"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if self.state_file.exists():
            os.replace(self.state_file, self.previous_file)
        os.replace(partial, self.state_file)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def load(self) -> State | None:
        """Return the newest readable state; None if there is none."""
        return read_state(self.path)

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the curve."""
        with self.curve_file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def begin_curve(self, rows: list[dict[str, Any]]) -> None:
        """Replace the curve by that of an earlier run."""
        self.curve_file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def forget_after(self, tokens: int) -> None:
        """Delete the rows that a killed run logged after its last saved state."""
        self.begin_curve([row for row in read_curve(self.curve_file) if row["tokens"] <= tokens])


def tokens_of(state: State) -> int:
    """Return the number of tokens that the run had seen when it was saved."""
    tokens: int = state["step"] * state["recipe"]["tokens_per_step"]
    return tokens


def read_state(path: Path) -> State | None:
    """Return the newest readable state of a run's folder, also while a process trains there."""
    for name in STATE_FILES:
        try:
            state: State = torch.load(path / name, weights_only=True)
        except UNREADABLE:
            continue
        return state
    return None


def read_curve(file: Path) -> list[dict[str, Any]]:
    """Return all rows except a last one that a kill truncated."""
    rows = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
