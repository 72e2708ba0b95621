"""A saved point that a session can resume from, and its bytes in a store."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from pararnn_core.state import StateParts, StateSnapshot
from pararnn_server.sessions.checksum import add_checksum, corrupt, verify_checksum

_HEAD = struct.Struct("<4sI")
_MAGIC = b"PRS1"


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state with its place in the session.

    snapshot: the state after all of num_tokens ids but the last len(pending_ids); not written to.
    build, build_changed: as in SessionRecord.
    """

    turn: int
    num_tokens: int
    pending_ids: tuple[int, ...]
    build: str
    build_changed: bool
    snapshot: StateSnapshot

    def encode(self, place: str = "") -> bytes:
        """Encode as 4 bytes of magic, the length of a JSON object, the object, the state and a checksum."""
        fields = [self.turn, self.num_tokens, list(self.pending_ids), self.build, self.build_changed]
        text = json.dumps(fields, separators=(",", ":")).encode()
        return add_checksum(
            _HEAD.pack(_MAGIC, len(text)), text, self.snapshot.buffer.numpy().data, place=place
        )


def decode_saved_state(data: bytes, parts: StateParts, place: str = "") -> SavedState:
    """Decode the bytes of `encode`, for a state with these parts. Raises StoreFailed for anything else."""
    body = verify_checksum(data, "a state", place)
    try:
        magic, length = _HEAD.unpack_from(body)
        if magic != _MAGIC:
            raise corrupt("a state begins with other bytes")
        end = _HEAD.size + length
        turn, num_tokens, pending_ids, build, build_changed = json.loads(bytes(body[_HEAD.size : end]))
        snapshot = StateSnapshot.from_bytes(parts, body[end:])
    except (ValueError, struct.error) as error:
        raise corrupt(f"a state cannot be read ({error})") from error
    return SavedState(turn, num_tokens, tuple(pending_ids), build, build_changed, snapshot)
