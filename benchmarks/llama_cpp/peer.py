"""llama.cpp's models as peers, each in a process with its own interpreter, idle between measurements."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pararnn_server.bench.measure import Workload
from pararnn_server.bench.timing import Repetition

from benchmarks.llama_cpp.sizes import Size

_ROOT = Path(__file__).parents[2]
_BATCHES = (1, 32)
_PREFILL = 512
_WEIGHTS = {"bf16": "bf16", "q8_0": "int8", "q4_0": "int4"}


class PeerFailed(RuntimeError):
    """Error: llama.cpp could not run. The message has its last output."""


class LlamaPeer:
    """One model in one format. The first use writes its file, which may take minutes."""

    def __init__(self, size: Size, weights: str, python: str, folder: Path, threads: int) -> None:
        self.label = f"llama.cpp {size.name} {weights}"
        self.weights = _WEIGHTS[weights]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [
                python,
                "-m",
                "benchmarks.llama_cpp.worker",
                f"--model={size.name}",
                f"--weights={weights}",
                f"--folder={folder}",
                f"--threads={threads}",
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        ready = self._answer()["ready"]
        self.path = Path(ready["path"])
        self.version = str(ready["version"])
        # An embedding that is not also the head is not read as a matrix. That of a mamba2 is its head.
        embedding = 0 if size.architecture == "mamba2" else size.vocab_size * size.width
        self.decode_bytes = int(ready["weight_bytes"]) - int(embedding * _BYTES[weights])

    def case(self, workload: Workload) -> Repetition | None:
        """Return a repetition of a workload that the tables compare, else None."""
        if workload.kind == "prefill":
            return self._repetition("prefill", _PREFILL) if workload.amount == _PREFILL else None
        return self._repetition("decode", workload.amount) if workload.amount in _BATCHES else None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _repetition(self, kind: str, amount: int) -> Repetition:
        def repeat() -> float:
            stream = self._process.stdin
            try:
                if stream is not None:
                    print(json.dumps({kind: amount}), file=stream, flush=True)
            except BrokenPipeError:
                pass  # the answer has the reason
            return float(self._answer()["seconds"])

        return repeat

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            told = self._errors.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise PeerFailed(f"{self.label}: {told[-1] if told else 'ended without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


# Bytes of one weight, scales included. Blocks of 32 weights share a scale of two bytes.
_BYTES = {"bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


@contextlib.contextmanager
def llama_peers(
    models: Sequence[tuple[Size, str]], python: str, folder: Path, threads: int
) -> Iterator[tuple[list[LlamaPeer], list[str]]]:
    """Yield the models that can run, and the reasons why others cannot."""
    peers: list[LlamaPeer] = []
    notes: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for size, weights in models:
            try:
                peers.append(LlamaPeer(size, weights, python, folder, threads))
            except (PeerFailed, OSError) as error:
                notes.append(str(error))
        yield peers, notes
    finally:
        for peer in peers:
            peer.close()
