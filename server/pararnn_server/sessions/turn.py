"""A turn under way, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pararnn_core.state import StateSnapshot


@dataclass(frozen=True, slots=True)
class Turn:
    """The one right to write to a session, from begin_turn to commit or abandon.

    snapshot, pending_ids, num_tokens: where the session stands; the snapshot is not written to.
    started_at: seconds since 1970.
    """

    session_id: str
    owner: str
    request_id: str
    snapshot: StateSnapshot
    pending_ids: tuple[int, ...]
    num_tokens: int
    started_at: float


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What the turn adds.

    token_ids: the prompt's ids and those of the returned text.
    snapshot: the state after all ids of the session but the last len(pending_ids).
    """

    token_ids: Sequence[int]
    snapshot: StateSnapshot
    pending_ids: tuple[int, ...]
    prompt_tokens: int
    completion_tokens: int
