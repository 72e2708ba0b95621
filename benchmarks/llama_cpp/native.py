"""llama.cpp in a process of its own: a model with its context, quiet, and lines of JSON as answers."""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any

import llama_cpp  # type: ignore[import-not-found]  # the peer's interpreter has it

LONGEST_BATCH = 512
VERSION = f"llama-cpp-python {llama_cpp.__version__}"


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # the peer has no types
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """Drop llama.cpp's log, which is long."""


def open_model(
    path: str, threads: int, context_tokens: int, sequences: int = 1, flash_attention: bool | None = None
) -> tuple[Any, Any]:
    """Return a model and its context. Raises RuntimeError if llama.cpp cannot load it.

    flash_attention: None leaves the choice to llama.cpp
    """
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = context_tokens
    settings.n_batch = settings.n_ubatch = LONGEST_BATCH
    settings.n_seq_max = sequences
    settings.n_threads = settings.n_threads_batch = threads
    if flash_attention is not None:
        settings.flash_attn_type = int(flash_attention)
    context = llama_cpp.llama_init_from_model(model, settings) if model else None
    if not context:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    return model, context


class Answers:
    """The real standard output; other output, also of native code, goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, message: dict[str, Any]) -> None:
        """Write a line of JSON."""
        print(json.dumps(message), file=self._stream, flush=True)
