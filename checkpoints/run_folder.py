"""A training run on disk: its settings, its log (one JSON object a line) and the state to resume from."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

Row = dict[str, float]


class RunFolder:
    """The folder of a run. Raises FileExistsError if it already has a run and resume is False."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.log_file = path / "log.jsonl"
        self.state_file = path / "state.pt"
        if resume and not self.state_file.is_file():
            raise FileNotFoundError(f"nothing to resume: no {self.state_file}")
        if not resume and self.log_file.exists():
            raise FileExistsError(f"{path} holds a run: add --resume to continue it, or choose another --run")
        path.mkdir(parents=True, exist_ok=True)

    def log(self, row: Row) -> None:
        """Append a row to the log."""
        with self.log_file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[Row]:
        """Return all rows of the log."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def forget_after(self, step: int) -> None:
        """Delete the rows that a killed run logged after its last saved state."""
        rows = [row for row in self.rows() if row["step"] <= step] if self.log_file.exists() else []
        self.log_file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state. After a crash the folder still has the previous one."""
        partial = self.state_file.with_suffix(".partial")
        torch.save(dict(state), partial)
        os.replace(partial, self.state_file)

    def load_state(self) -> dict[str, Any]:
        """Return the state that save_state wrote."""
        state: dict[str, Any] = torch.load(self.state_file, weights_only=True)
        return state
