"""A turn in progress, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pararnn_core.state import StateSnapshot
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.record import SessionRecord
from pararnn_server.sessions.session import SessionInfo


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """The one right to write to a session, from begin_turn to commit or abandon.

    record: the session at version `version`. snapshot: its state, not written to.
    started_at: seconds since 1970. fence: of its lease in the store.
    idempotency_key: of a write that may be sent twice. reserved: the store's quota holds room for the turn.
    """

    session_id: str
    request_id: str
    record: SessionRecord
    version: int
    fence: int
    snapshot: StateSnapshot
    started_at: float
    idempotency_key: IdempotencyKey | None = None
    reserved: bool = False

    @property
    def pending_ids(self) -> tuple[int, ...]:
        """Ids of the session that its state does not cover yet."""
        return self.record.pending_ids

    @property
    def has_state(self) -> bool:
        """False for the state before any token."""
        return self.record.turn > 0

    @property
    def num_tokens(self) -> int:
        """Ids of the session, pending ones included."""
        return self.record.num_tokens


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The change that a turn makes to its session.

    token_ids: the prompt's ids and those of the returned text.
    snapshot: the state after all ids of the session but the last len(pending_ids).
    reply: what was answered, for a client that asks again under the same Idempotency-Key.
    """

    token_ids: Sequence[int]
    snapshot: StateSnapshot
    pending_ids: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A write that has already happened: the session after it, and the recorded reply."""

    info: SessionInfo
    reply: bytes | None
