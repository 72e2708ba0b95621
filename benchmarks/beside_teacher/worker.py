"""A GGUF model under llama.cpp, which answers a request for each line of standard input.

In: {"read": ids}, {"decode": ids}, {"loss": ids}, {"save": path}, {"load": path} or {"memory": null}.
Out: a line {"ready": version, "features": names, "vocab_size": number}, then one {"value": number} each.
The features are those of the processor that the build uses. It runs in an interpreter with llama_cpp, without
this project's packages.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp  # type: ignore[import-not-found]  # the peer's interpreter has it
import numpy as np

from benchmarks.llama_cpp.native import LONGEST_BATCH, VERSION, Answers, open_model


class Conversation:
    """One sequence of a model. Its methods are those of the benchmark's Subject."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        # llama.cpp turns flash attention on by itself. On this kind of CPU it decodes far slower with it:
        # 54 instead of 95 tokens a second after 512 tokens, 9 instead of 40 after 4,096.
        self._model, self._context = open_model(path, threads, context, flash_attention=False)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(LONGEST_BATCH, 0, 1)
        self._position = 0

    def read(self, ids: Sequence[int]) -> float:
        """Append ids; return the seconds."""
        began = time.perf_counter()
        for start in range(0, len(ids), LONGEST_BATCH):
            self._run(ids[start : start + LONGEST_BATCH], every=False)
        llama_cpp.llama_synchronize(self._context)
        return time.perf_counter() - began

    def memory(self, _: None) -> int:
        """Return the bytes of keys and values of the conversation."""
        return int(llama_cpp.llama_state_seq_get_size(self._context, 0))

    def decode(self, ids: Sequence[int]) -> float:
        """Return the seconds to read ids one by one, and forget them."""
        began = time.perf_counter()
        for token in ids:
            self._run([token], every=False)
            llama_cpp.llama_synchronize(self._context)
        seconds = time.perf_counter() - began
        self._forget(len(ids))
        return seconds

    def loss(self, ids: Sequence[int]) -> float:
        """Return the sum of nats of ids but the first, and forget them."""
        self._run(ids[:-1], every=True)
        total = sum(self._nats(row, target) for row, target in enumerate(ids[1:]))
        self._forget(len(ids) - 1)
        return total

    def save(self, path: str) -> int:
        """Write keys and values to a file; return its bytes."""
        # The ids are kept with it only for their number.
        ids = (llama_cpp.llama_token * self._position)()
        return int(llama_cpp.llama_state_seq_save_file(self._context, path.encode(), 0, ids, self._position))

    def load(self, path: str) -> int:
        """Read keys and values of a file; return their number of tokens."""
        room = llama_cpp.llama_n_ctx(self._context)
        ids, count = (llama_cpp.llama_token * room)(), ctypes.c_size_t(0)
        if not llama_cpp.llama_state_seq_load_file(
            self._context, path.encode(), 0, ids, room, ctypes.byref(count)
        ):
            raise RuntimeError(f"llama.cpp cannot read {path}")
        self._position = count.value
        return self._position

    def _nats(self, row: int, target: int) -> float:
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        logits = np.ctypeslib.as_array(pointer, shape=(self.vocab_size,)).astype(np.float64)
        largest = logits.max()
        return float(np.log(np.exp(logits - largest).sum()) + largest - logits[target])

    def _run(self, ids: Sequence[int], every: bool) -> None:
        batch = self._batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = self._position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = every or i == len(ids) - 1
        if llama_cpp.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        self._position += len(ids)

    def _forget(self, count: int) -> None:
        self._position -= count
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_seq_rm(memory, 0, self._position, -1)


def features() -> str:
    """Return the processor's features that this build of llama.cpp uses."""
    known = llama_cpp.llama_print_system_info().decode().removeprefix("CPU : ")
    return " ".join(name.removesuffix(" = 1") for name in known.split(" | ") if name.endswith(" = 1"))


def main() -> None:
    """Load the model and answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    arguments = parser.parse_args()
    answers = Answers()
    conversation = Conversation(arguments.model, arguments.threads, arguments.context)
    answers.say({"ready": VERSION, "features": features(), "vocab_size": conversation.vocab_size})
    calls: dict[str, Callable[[Any], float]] = {
        name: getattr(conversation, name) for name in ("read", "memory", "decode", "loss", "save", "load")
    }
    for line in sys.stdin:
        ((name, value),) = json.loads(line).items()
        answers.say({"value": calls[name](value)})


if __name__ == "__main__":
    main()
