"""A turn under way, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pararnn_core.state import StateSnapshot
from pararnn_server.errors import ServerError
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.record import SessionRecord
from pararnn_server.sessions.session import SessionInfo


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """The one right to write to a session, from begin_turn to commit or abandon.

    record: where the session stands, as version `version` of it. snapshot: its state, not written to.
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
    def num_tokens(self) -> int:
        """Ids of the session, pending ones included."""
        return self.record.num_tokens


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What the turn adds.

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
    """The write has happened: the session as it left it, and what was answered."""

    info: SessionInfo
    reply: bytes | None


@dataclass(frozen=True, slots=True)
class EndingTurn:
    """A turn on its way into the store. done: called on the store's thread with how that went."""

    turn: Turn
    result: TurnResult
    submitted_at: float
    done: Callable[[SessionInfo | ServerError], None]
