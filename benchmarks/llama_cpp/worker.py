"""Measurement of one model with llama.cpp, one repetition for each line of standard input.

In: {"prefill": tokens} or {"decode": sequences}. Out: a line {"ready": ...}, then one {"seconds": ...} each.
It runs in an interpreter with llama_cpp and gguf, without this project's packages.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import llama_cpp  # type: ignore[import-not-found]  # the peer's interpreter has it

from benchmarks.llama_cpp.native import LONGEST_BATCH, VERSION, Answers, open_model
from benchmarks.llama_cpp.sizes import FORMATS, SIZES
from benchmarks.llama_cpp.write import model_file

_LEAST_DECODE_SECONDS = 0.2
_MOST_SEQUENCES = 32


class Model:
    """A model file, its context for up to 32 sequences, and random tokens."""

    def __init__(self, path: Path, vocab_size: int, threads: int) -> None:
        self._model, self._context = open_model(str(path), threads, 1 << 16, _MOST_SEQUENCES)
        self._batch = llama_cpp.llama_batch_init(LONGEST_BATCH, 0, 1)
        self._random = random.Random(1)
        self._vocab_size = vocab_size
        self._position = 0
        self._decoding = 0

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all tensors."""
        return int(llama_cpp.llama_model_size(self._model))

    def prefill(self, tokens: int) -> float:
        """Return the seconds to feed `tokens` to a new sequence and compute the logits of the last."""
        self._forget()
        taken = 0.0
        for start in range(0, tokens, LONGEST_BATCH):
            count = min(LONGEST_BATCH, tokens - start)
            last = start + count == tokens
            rows = [(start + i, 0, last and i == count - 1) for i in range(count)]
            taken += self._run(rows)
        return taken

    def decode(self, sequences: int) -> float:
        """Return the seconds of one step of `sequences`, averaged over at least 0.2 s of steps."""
        if self._decoding != sequences:
            self._forget()
            self._decoding = sequences
            self._step()
        steps, taken = 0, 0.0
        while taken < _LEAST_DECODE_SECONDS:
            taken += self._step()
            steps += 1
        return taken / steps

    def _step(self) -> float:
        rows = [(self._position, sequence, True) for sequence in range(self._decoding)]
        self._position += 1
        return self._run(rows)

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._position = self._decoding = 0

    def _run(self, rows: list[tuple[int, int, bool]]) -> float:
        """Return the seconds of the native calls alone. rows: (position, sequence, True for logits)."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (position, sequence, wanted) in enumerate(rows):
            batch.token[i] = self._random.randrange(self._vocab_size)
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        start = time.perf_counter()
        if llama_cpp.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama_cpp.llama_synchronize(self._context)
        return time.perf_counter() - start


def main() -> None:
    """Write the model if it does not exist, load it, and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=[size.name for size in SIZES], required=True)
    parser.add_argument("--weights", choices=FORMATS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    answers = Answers()
    size = next(each for each in SIZES if each.name == arguments.model)
    path = model_file(size, arguments.weights, arguments.folder, arguments.threads)
    model = Model(path, size.vocab_size, arguments.threads)
    answers.say({"ready": {"path": str(path), "weight_bytes": model.weight_bytes, "version": VERSION}})
    for line in sys.stdin:
        ((what, amount),) = json.loads(line).items()
        answers.say({"seconds": {"prefill": model.prefill, "decode": model.decode}[what](amount)})


if __name__ == "__main__":
    main()
