"""A state that a client keeps: a session file without its log, and what the state has read, under a seal."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.access.seal import SealContext, Sealer, sealed_chars
from pararnn_server.errors import BadRequest
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.state_reader import StateReader

_LENGTH = struct.Struct("<I")
# The fields beside the state are short: digests and a time.
_MAX_FIELDS_BYTES = 4096


class StateExpired(ValueError):
    """The sealed state is past its expiry."""


@dataclass(frozen=True, slots=True)
class SealedState:
    """A state, and what it has read.

    instructions, tools: digests of those that the state has read.
    awaits_reply: the next id is the first of a reply. expires_at: seconds since 1970; None: never.
    """

    state: SavedState
    instructions: str
    tools: str
    awaits_reply: bool
    expires_at: int | None

    def seal(self, sealer: Sealer, kind: ModelKind, owner: str, max_bytes: int) -> str:
        """Return the sealed text. Raises BadRequest for one of more than `max_bytes`."""
        data = self._encode(kind)
        if sealed_chars(len(data)) > max_bytes:
            message = (
                f"The state takes {sealed_chars(len(data))} bytes as a compaction item, and"
                f" --max-compaction-bytes is {max_bytes}: keep it in a session, and export that with"
                " GET /v1/sessions/{id}/state."
            )
            raise BadRequest(message, code="compaction_too_large")
        return sealer.seal(data, SealContext(kind.fingerprint, owner))

    def _encode(self, kind: ModelKind) -> bytes:
        state = self.state
        fields = {
            "instructions": self.instructions,
            "tools": self.tools,
            "awaits_reply": self.awaits_reply,
            "expires_at": self.expires_at,
        }
        text = json.dumps(fields, separators=(",", ":")).encode()
        file = StateFile(
            model=kind.name,
            fingerprint=kind.fingerprint,
            tokenizer=kind.tokenizer,
            build=state.build,
            build_changed=state.build_changed,
            turn=state.turn,
            num_tokens=state.num_tokens,
            pending_ids=state.pending_ids,
            # The log is with the client, as text.
            log_start=state.num_tokens,
            metadata={},
            snapshot=state.snapshot,
        )
        return b"".join((_LENGTH.pack(len(text)), text, file.encode()))


def open_state(sealer: Sealer, text: str, kind: ModelKind, owner: str, max_bytes: int) -> SealedState:
    """Open what `SealedState.seal` made.

    Raises SealBroken, StateExpired, and the errors of StateReader: what opens is checked as an import is.
    """
    data = memoryview(sealer.open(text, SealContext(kind.fingerprint, owner)))
    (length,) = _LENGTH.unpack_from(data)
    assert length <= _MAX_FIELDS_BYTES, "only this server can have sealed it"
    end = _LENGTH.size + length
    fields: dict[str, Any] = json.loads(bytes(data[_LENGTH.size : end]))
    expires_at = fields["expires_at"]
    # Clocks of processes have nothing in common but the time of day.
    if expires_at is not None and expires_at <= time.time():
        raise StateExpired("it has expired")
    reader = StateReader(kind, max_bytes)
    reader.feed(bytes(data[end:]))
    file = reader.finish()
    state = SavedState(
        file.turn, file.num_tokens, tuple(file.pending_ids), file.build, file.build_changed, file.snapshot
    )
    return SealedState(state, fields["instructions"], fields["tools"], fields["awaits_reply"], expires_at)


def digest_of_instructions(instructions: str | None) -> str:
    """Return a digest of instructions; "" for none."""
    return _digest(instructions.encode("utf-8", "surrogatepass")) if instructions else ""


def digest_of_tools(tools: Sequence[Any]) -> str:
    """Return a digest of tools as the request gave them; "" for none."""
    return _digest(json.dumps(tools, sort_keys=True, separators=(",", ":")).encode()) if tools else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
