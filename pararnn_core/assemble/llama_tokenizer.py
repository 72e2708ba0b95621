"""The tokenizer of a GGUF file as the bytes of a `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pararnn_core.assemble.llama_file import LlamaFile

CONTROL_TOKEN = 3
SUPPORTED = ("gpt2", "smollm")


def tokenizer_json(file: LlamaFile, further: Sequence[str] = ()) -> bytes:
    """Return a byte-level BPE tokenizer whose control tokens are special.

    further: tokens after those of the file
    Raises ValueError for another kind. The bytes are part of a model's fingerprint, so they are written here
    and not by the tokenizers library, whose versions format them differently.
    """
    kind = (file.field("tokenizer.ggml.model"), file.field("tokenizer.ggml.pre"))
    if kind != SUPPORTED:
        raise ValueError(f"the tokenizer is of kind {kind}, only {SUPPORTED} can be read")
    tokens, kinds = file.field("tokenizer.ggml.tokens"), file.field("tokenizer.ggml.token_type")
    control = [i for i, each in enumerate(kinds) if each == CONTROL_TOKEN]
    fields = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(i, tokens[i]) for i in control],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level()],
        },
        "post_processor": None,
        "decoder": _byte_level(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate([*tokens, *further])},
            "merges": [merge.split(" ") for merge in file.field("tokenizer.ggml.merges")],
        },
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _special(token_id: int, content: str) -> dict[str, Any]:
    stripped = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, **stripped, "special": True}


def _byte_level() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
