"""A session's record, which every change replaces as a whole. States and logs are items beside it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pararnn_server.access.owner import Owner, decode_owner
from pararnn_server.metrics.tiers import Tier
from pararnn_server.sessions.checksum import add_checksum, corrupt, verify_checksum
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.names import place_of
from pararnn_server.sessions.session import SessionInfo, SnapshotInfo, TurnInfo

HISTORY_TURNS = 256
HEAD = "head"
LOG_BYTES_PER_TOKEN = 4
_TIMES = ("created_at", "last_used_at")
# Fields that a stored session has under an older name: its bytes outlive a renaming.
_STORED_NAMES = {"idempotency_key": "once"}
_FIELD_NAMES = {stored: name for name, stored in _STORED_NAMES.items()}
_TURN = struct.Struct("<qqqqqd")
_STORED_TURN_BYTES = len(add_checksum(bytes(_TURN.size)))


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it is stored. Times are seconds since 1970.

    fingerprint: of the model. build: what computed the state; build_changed: others had a part in it.
    ttl_seconds: life after the last use; None is for ever, and so is a pinned session's.
    pending_ids: ids sampled or cut from a token by a stop string, that the state does not cover yet.
    log_start: ids before it are not in the log: they were before an import.
    kept_turns: turns that have a saved state, ascending; the last is the present one.
    snapshots: named ones. log_bytes: bytes of ids that they keep.
    idempotency_key: the last write that had an Idempotency-Key, if nothing was written since.
    made_by: the fork that made it, if that had one.
    tools: digest of the tools that its first chat has read; "" if there were none.
    """

    owner: Owner
    model: str
    fingerprint: str
    build: str
    state_bytes: int
    created_at: float
    last_used_at: float
    ttl_seconds: float | None
    metadata: Mapping[str, str]
    pinned: bool = False
    build_changed: bool = False
    parent_id: str | None = None
    turn: int = 0
    num_tokens: int = 0
    pending_ids: tuple[int, ...] = ()
    log_start: int = 0
    kept_turns: tuple[int, ...] = (0,)
    snapshots: Mapping[str, SnapshotInfo] = field(default_factory=dict)
    idempotency_key: IdempotencyKey | None = None
    made_by: IdempotencyKey | None = None
    tools: str = ""

    @property
    def expires_at(self) -> float | None:
        """Time at which the session expires unless it is used before."""
        return None if self.pinned or self.ttl_seconds is None else self.last_used_at + self.ttl_seconds

    @property
    def history_bytes(self) -> int:
        """Bytes of the token log."""
        return LOG_BYTES_PER_TOKEN * (self.num_tokens - self.log_start)

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of the named snapshots."""
        return sum(snapshot.nbytes for snapshot in self.snapshots.values())

    @property
    def kept_bytes(self) -> int:
        """Bytes of the saved states. Before the first turn there are none."""
        return sum(turn > 0 for turn in self.kept_turns) * self.state_bytes

    def info(self, session_id: str, tier: Tier, build: str) -> SessionInfo:
        """Return the session as its owner may see it. build: this server's."""
        return SessionInfo(
            id=session_id,
            model=self.model,
            created_at=int(self.created_at),
            last_used_at=int(self.last_used_at),
            num_tokens=self.num_tokens,
            turn=self.turn,
            state_bytes=self.state_bytes,
            snapshot_bytes=self.snapshot_bytes,
            history_bytes=self.history_bytes,
            tier=tier,
            parent_id=self.parent_id,
            metadata=self.metadata,
            expires_at=None if self.expires_at is None else int(self.expires_at),
            pinned=self.pinned,
            build_changed=self.build_changed or self.build != build,
        )

    def encode(self, session_id: str) -> bytes:
        """Encode the head of a stored session."""
        # Times have a fixed length, so that counted bytes do not depend on them.
        times = {name: f"{getattr(self, name):.7f}" for name in _TIMES}
        fields = {_STORED_NAMES.get(name, name): value for name, value in asdict(self).items()}
        # A server of before, which does not know the field, can read a session without tools.
        if not self.tools:
            del fields["tools"]
        text = json.dumps(fields | times | {"owner": self.owner.encode()}, separators=(",", ":")).encode()
        return add_checksum(text, place=place_of(session_id, HEAD))


def decode_record(data: bytes, session_id: str) -> SessionRecord:
    """Decode the bytes of `encode`. Raises StoreFailed for anything else."""
    text = verify_checksum(data, "a session", place_of(session_id, HEAD))
    try:
        fields: dict[str, Any] = json.loads(bytes(text))
        times = {name: float(fields[name]) for name in _TIMES}
        fields = {_FIELD_NAMES.get(name, name): value for name, value in fields.items()}
        idempotency_keys = {name: _decode_key(fields[name]) for name in ("idempotency_key", "made_by")}
        snapshots = {name: SnapshotInfo(**entry) for name, entry in fields.pop("snapshots").items()}
        return SessionRecord(
            **fields
            | {name: tuple(fields[name]) for name in ("pending_ids", "kept_turns")}
            | {"snapshots": snapshots, "owner": decode_owner(fields["owner"])}
            | times
            | idempotency_keys
        )
    except (ValueError, TypeError, KeyError) as error:
        raise corrupt(f"a session cannot be read ({error})") from error


def _decode_key(fields: dict[str, str] | None) -> IdempotencyKey | None:
    return None if fields is None else IdempotencyKey(**fields)


def encode_turn(turn: TurnInfo) -> bytes:
    """Encode one line of the history."""
    return add_checksum(
        _TURN.pack(
            turn.turn,
            turn.created_at,
            turn.prompt_tokens,
            turn.completion_tokens,
            turn.num_tokens,
            turn.duration_seconds,
        )
    )


def decode_turn(data: bytes) -> TurnInfo:
    """Decode the bytes of `encode_turn`. Raises StoreFailed for anything else."""
    body = verify_checksum(data, "a turn")
    if len(body) != _TURN.size:
        raise corrupt("a turn has another length")
    return TurnInfo(*_TURN.unpack(body))


def split_turns(lines: bytes) -> list[bytes]:
    """Split encoded turns that are end to end."""
    size = _STORED_TURN_BYTES
    return [lines[start : start + size] for start in range(0, len(lines), size)]
