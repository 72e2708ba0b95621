"""A reader of imported session files, which trusts nothing in them and stops where they are too long."""

from __future__ import annotations

import json
import re
from array import array
from typing import Any

import numpy as np
import torch

from pararnn_core.state import SEEN, StateSnapshot
from pararnn_core.storage.untrusted_file import parse_json
from pararnn_server.errors import BadRequest, ServerError, TooLarge
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.state_file import (
    FORMAT,
    FORMAT_VERSION,
    LENGTH,
    MAX_HEADER_BYTES,
    TOKENS,
    StateFile,
    int32s,
    tensor_headers,
)

MAX_PENDING_IDS = 2048
# Names of items have twelve digits: a session that begins here has room for as many ids as it can ever read.
MAX_COUNT = 10**11
_DIGEST = re.compile(r"[0-9a-f]{32}")
_MAX_METADATA = (16, 64, 512)


class StateReader:
    """Feed it the file in any pieces; it never holds more than the file may have by its header.

    max_bytes: of the whole file. Every method raises BadRequest whose param is the field or tensor at fault,
    or TooLarge.
    """

    def __init__(self, kind: ModelKind, max_bytes: int) -> None:
        self._kind = kind
        self._parts = kind.parts
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._expected = LENGTH.size
        self._header_end = 0
        self._fields: dict[str, str] = {}
        self._num_ids: int | None = None

    @property
    def content(self) -> bytes:
        """Return the session that was fed."""
        return bytes(self._data)

    def feed(self, piece: bytes) -> None:
        """Read the next bytes."""
        rest = memoryview(piece)
        while rest:
            room = self._expected - len(self._data)
            if not room:
                raise _bad("body", f"there is more than the {self._expected} bytes that the header speaks of")
            self._data += rest[:room]
            rest = rest[room:]
            if len(self._data) == self._expected and not self._header_end:
                self._expected = (
                    self._after_length() if len(self._data) == LENGTH.size else self._after_header()
                )

    def finish(self) -> StateFile:
        """Check that the file is complete."""
        if len(self._data) < self._expected or not self._header_end:
            raise _bad("body", f"it ends after {len(self._data)} of {self._expected} bytes")
        body = memoryview(self._data)[self._header_end :]
        num_bytes = 4 * (self._num_ids or 0)
        ids = None if self._num_ids is None else int32s(body[:num_bytes])
        snapshot = StateSnapshot.from_bytes(self._parts, body[num_bytes:])
        self._check_snapshot(snapshot)
        return self._state_file(snapshot, ids)

    def _after_length(self) -> int:
        """Read the length of the header. Return the position of its end."""
        (length,) = LENGTH.unpack(self._data)
        # Before the header is read: the length comes from the client.
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise _bad("body", f"it is no safetensors file, or its header is above {MAX_HEADER_BYTES} bytes")
        return LENGTH.size + int(length)

    def _after_header(self) -> int:
        """Read the header. Return the length of the file."""
        try:
            header = parse_json(bytes(self._data[LENGTH.size :]))
        except ValueError as error:
            raise _bad("body", f"its header cannot be read: {error}") from None
        self._fields = self._checked_fields(header.pop("__metadata__", None))
        self._num_ids = self._checked_tensors(header)
        self._header_end = len(self._data)
        size = self._header_end + 4 * (self._num_ids or 0) + self._kind.state_bytes
        if size > self._max_bytes:
            raise TooLarge(f"The file would be larger than {self._max_bytes} bytes.", param="body")
        return size

    def _checked_fields(self, fields: Any) -> dict[str, str]:
        if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
            raise _bad("__metadata__", "it must hold texts")
        if fields.get("format") != FORMAT:
            raise _bad("format", f"it must be {FORMAT}")
        if fields.get("version") != FORMAT_VERSION:
            raise _bad("version", f"this server reads version {FORMAT_VERSION}")
        if fields.get("fingerprint") != self._kind.fingerprint:
            raise _bad("fingerprint", "the state belongs to another model")
        if fields.get("tokenizer") != self._kind.tokenizer:
            raise _bad("tokenizer", "the state belongs to a model with another tokenizer")
        if fields.get("chat_template", self._kind.chat_template) != self._kind.chat_template:
            raise _bad(
                "chat_template",
                "the state was tuned with another chat template: serve the checkpoint with that one,"
                " or tune again",
            )
        return fields

    def _checked_tensors(self, tensors: dict[str, Any]) -> int | None:
        """Check the tensors. Return the number of ids in the file, None without a log."""
        num_ids = None
        if TOKENS in tensors:
            shape = tensors[TOKENS].get("shape") if isinstance(tensors[TOKENS], dict) else None
            # `type`, not isinstance: in JSON true is no number, in Python it is.
            if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or shape[0] < 0:
                raise _bad(TOKENS, "its shape must be one number")
            num_ids = shape[0]
        expected = tensor_headers(self._parts, num_ids)
        for name, entry in expected.items():
            found = tensors.get(name)
            if isinstance(found, dict):
                _check_activations(name, found, entry)
            if found != entry:
                raise _bad(name, f"the header must say {json.dumps(entry)}")
        if unknown := tensors.keys() - expected.keys():
            raise _bad(sorted(unknown)[0][:64], "no tensor of a session has this name")
        return num_ids

    def _check_snapshot(self, snapshot: StateSnapshot) -> None:
        for name, view in snapshot.views().items():
            # A recurrent state never loses a NaN: every later turn would fail.
            if view.is_floating_point() and not torch.isfinite(view).all():
                raise _bad(name, "it holds NaN or infinity")
        # The seen ids are bits, of which the last byte may have some too many.
        spare = self._kind.config.vocab_size % 8
        if spare and int(snapshot.views()[SEEN][-1]) >> spare:
            raise _bad(SEEN, "it has bits beyond the vocabulary")

    def _state_file(self, snapshot: StateSnapshot, ids: array[int] | None) -> StateFile:
        turn, num_tokens = self._count("turn"), self._count("num_tokens")
        log_start = self._count("log_start")
        if turn == 0 and (num_tokens or snapshot.buffer.any()):
            raise _bad("turn", "a session has no ids and no state before its first turn")
        # A tuned state stands at the beginning: it has a turn, and no ids yet.
        if num_tokens == 0 and snapshot.views()[SEEN].any():
            raise _bad("num_tokens", "a state that has seen ids belongs to a session with ids")
        if log_start > num_tokens or (ids is not None and len(ids) != num_tokens - log_start):
            raise _bad("log_start", "the log does not fit num_tokens")
        pending = self._pending_ids(num_tokens)
        if ids is not None:
            self._check_log(ids, pending)
        return StateFile(
            model=self._kind.name,
            fingerprint=self._kind.fingerprint,
            tokenizer=self._kind.tokenizer,
            build=self._fields.get("build", "")[:64],
            build_changed=self._json("build_changed", bool),
            turn=turn,
            num_tokens=num_tokens,
            pending_ids=pending,
            log_start=num_tokens if ids is None else log_start,
            metadata=self._metadata(),
            snapshot=snapshot,
            token_ids=ids,
            tools=self._tools(num_tokens),
        )

    def _tools(self, num_tokens: int) -> str:
        digest = self._fields.get("tools", "")
        if digest and (num_tokens == 0 or not _DIGEST.fullmatch(digest)):
            raise _bad("tools", "it must be 32 hexadecimal digits, of a session that has read something")
        return digest

    def _count(self, name: str) -> int:
        text = self._fields.get(name, "")
        # int() takes digits of every script, and is slow for long texts.
        if not text.isascii() or not text.isdecimal() or len(text) > 16 or int(text) > MAX_COUNT:
            raise _bad(name, f"it must be a whole number up to {MAX_COUNT}")
        return int(text)

    def _json(self, name: str, kind: type) -> Any:
        try:
            value = json.loads(self._fields.get(name, ""))
        # Deeply nested JSON exhausts Python's stack.
        except (ValueError, RecursionError):
            value = None
        if type(value) is not kind:
            raise _bad(name, f"it must be the JSON of a {kind.__name__}")
        return value

    def _pending_ids(self, num_tokens: int) -> tuple[int, ...]:
        ids, size = self._json("pending_ids", list), self._kind.config.vocab_size
        longest = min(num_tokens, MAX_PENDING_IDS)
        if len(ids) > longest or not all(type(token) is int and 0 <= token < size for token in ids):
            raise _bad("pending_ids", f"it must hold at most {longest} ids below {size}")
        return tuple(ids)

    def _check_log(self, ids: array[int], pending: tuple[int, ...]) -> None:
        size = self._kind.config.vocab_size
        # numpy has no minimum of nothing, so an empty log is checked as one valid id.
        values = np.frombuffer(ids or b"\0\0\0\0", np.int32)
        if not 0 <= values.min() <= values.max() < size:
            raise _bad(TOKENS, f"they must be ids below {size}")
        shared = min(len(ids), len(pending))
        if tuple(ids[len(ids) - shared :]) != pending[len(pending) - shared :]:
            raise _bad(TOKENS, "they do not end with the pending ids")

    def _metadata(self) -> dict[str, str]:
        value = self._json("metadata", dict)
        entries, longest_name, longest = _MAX_METADATA
        if len(value) > entries or not all(
            0 < len(name) <= longest_name and isinstance(text, str) and len(text) <= longest
            for name, text in value.items()
        ):
            raise _bad("metadata", f"it may hold {entries} texts of {longest} characters")
        return dict(value)


def _check_activations(name: str, found: dict[str, Any], kept: dict[str, Any]) -> None:
    """Say so where only the type differs: that of activations follows from the device."""
    both = {found.get("dtype"), kept["dtype"]}
    if both == {"F32", "BF16"} and found.get("shape") == kept["shape"]:
        its, ours = found["dtype"], kept["dtype"]
        raise _bad(name, f"the state is of a device with activations in {its}, this one has {ours}")


def _bad(param: str, why: str) -> ServerError:
    return BadRequest(f"{param}: {why}.", param=param, code="invalid_state_file")
