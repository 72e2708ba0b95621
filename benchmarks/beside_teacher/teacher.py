"""The teacher as a subject: its GGUF file under llama.cpp, in a process with an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


class Teacher:
    """A conversation with llama.cpp. Raises RuntimeError if it cannot run; its own words are on stderr."""

    def __init__(self, python: str, model: Path, threads: int, context: int) -> None:
        command = [python, "-m", "benchmarks.beside_teacher.worker", f"--model={model}"]
        self._process = subprocess.Popen(
            [*command, f"--threads={threads}", f"--context={context}"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = self._answer()
        self.version, self.features = str(ready["ready"]), str(ready["features"])
        self.vocab_size = int(ready["vocab_size"])

    def read(self, ids: Sequence[int]) -> float:
        """See Subject.read."""
        return self._ask("read", ids)

    def memory(self) -> int:
        """See Subject.memory."""
        return int(self._ask("memory", None))

    def decode(self, ids: Sequence[int]) -> float:
        """See Subject.decode."""
        return self._ask("decode", ids)

    def loss(self, passage: Sequence[int]) -> float:
        """See Subject.loss."""
        return self._ask("loss", passage)

    def save(self, file: Path) -> None:
        """See Subject.save."""
        self._ask("save", str(file))

    def load(self, file: Path, tokens: int) -> None:
        """See Subject.load. Raises RuntimeError if the file holds another number of tokens."""
        if int(self._ask("load", str(file))) != tokens:
            raise RuntimeError(f"{file} does not hold {tokens:,} tokens: remove it and the results")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, what: str, value: Sequence[int] | str | None) -> float:
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("the process has no standard input")
        print(json.dumps({what: value}), file=stream, flush=True)
        return float(self._answer()["value"])

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            # -4 is an illegal instruction: GCC 12 miscompiles llama.cpp's tile configuration for AMX.
            self._process.communicate()
            raise RuntimeError(
                f"llama.cpp's process ended with exit code {self._process.returncode}:"
                " is llama-cpp-python in its interpreter, and does it run there by itself?"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
