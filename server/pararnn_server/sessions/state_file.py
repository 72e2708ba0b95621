"""A session as a safetensors file: what an export holds and an import is held to.

Tensors: tokens (n,) int32 if the log is in it, then the parts of the state by name. `__metadata__` has the
fields of StateFile that are no tensors, as text; lists and mappings as JSON.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pararnn_core.state import StatePart, StateSnapshot

FORMAT = "pararnn-session"
FORMAT_VERSION = "1"
MAX_HEADER_BYTES = 64 << 10
LENGTH = struct.Struct("<Q")
DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}
TOKENS = "tokens"
TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class StateFile:
    """The content of a session file.

    fingerprint, tokenizer: of the model. build, build_changed: as in SessionRecord.
    metadata: set by the owner. token_ids: from position log_start on; None: not in the file.
    chat_template: hash of the one that a tuned state needs; "": any.
    tools: digest of the tools that the session has read; "" for none.
    """

    model: str
    fingerprint: str
    tokenizer: str
    build: str
    build_changed: bool
    turn: int
    num_tokens: int
    pending_ids: Sequence[int]
    log_start: int
    metadata: Mapping[str, str]
    snapshot: StateSnapshot
    token_ids: Sequence[int] | None = None
    chat_template: str = ""
    tools: str = ""

    def encode(self) -> bytes:
        """Encode the whole file."""
        text = json.dumps(self._header(), separators=(",", ":")).encode()
        # Safetensors pads its header to 8 bytes, so that tensors are aligned.
        text += b" " * (-len(text) % LENGTH.size)
        tokens = b"" if self.token_ids is None else _as_bytes(self.token_ids)
        return b"".join((LENGTH.pack(len(text)), text, tokens, self.snapshot.buffer.numpy().data))

    def _header(self) -> dict[str, Any]:
        fields = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "tokenizer": self.tokenizer,
            "build": self.build,
            "build_changed": json.dumps(self.build_changed),
            "turn": str(self.turn),
            "num_tokens": str(self.num_tokens),
            "pending_ids": json.dumps(list(self.pending_ids)),
            "log_start": str(self.log_start),
            "metadata": json.dumps(dict(self.metadata)),
        }
        if self.chat_template:
            fields["chat_template"] = self.chat_template
        # Servers of before read a file without tools, and so does this one read theirs.
        if self.tools:
            fields["tools"] = self.tools
        num_ids = None if self.token_ids is None else len(self.token_ids)
        return {"__metadata__": fields, **tensor_headers(self.snapshot.parts, num_ids)}


def tensor_headers(parts: Sequence[StatePart], num_ids: int | None) -> dict[str, dict[str, Any]]:
    """Return the header of each tensor of this model."""
    headers, end = {}, 0
    if num_ids is not None:
        end = TOKEN_BYTES * num_ids
        headers[TOKENS] = {"dtype": "I32", "shape": [num_ids], "data_offsets": [0, end]}
    for part in parts:
        start, end = end, end + part.nbytes
        dtype = DTYPE_NAMES[part.dtype]
        headers[part.name] = {"dtype": dtype, "shape": list(part.shape), "data_offsets": [start, end]}
    return headers


def int32s(data: bytes | memoryview) -> array[int]:
    """Decode integers from a file, little end first."""
    values = array("i")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _as_bytes(token_ids: Sequence[int]) -> bytes:
    """Encode integers, little end first."""
    # An array is taken as its bytes: number by number takes fifty times as long.
    values = array("i")
    if isinstance(token_ids, array) and token_ids.typecode in "iI":
        values.frombytes(token_ids.tobytes())
    else:
        values.extend(token_ids)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
