"""A session as clients see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pararnn_server.metrics.tiers import Tier, TierTotal


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The last committed turn. Times are seconds since 1970, sizes bytes.

    num_tokens: ids of the session, those sampled and not yet fed included.
    state_bytes: the state; the same whatever num_tokens is.
    snapshot_bytes: named snapshots.  history_bytes: the token log, four bytes an id.
    tier: "device" while a turn runs, else where the state is kept.
    pinned: neither expires nor leaves memory for the store.
    build_changed: the state, or some state before it, was computed by another build or instruction set level
        than this server's: it can be resumed, but its last bits may differ from those of this build.
    """

    id: str
    model: str
    created_at: int
    last_used_at: int
    num_tokens: int
    turn: int
    state_bytes: int
    snapshot_bytes: int
    history_bytes: int
    tier: Tier
    parent_id: str | None
    metadata: Mapping[str, str]
    expires_at: int | None
    pinned: bool = False
    build_changed: bool = False
    object: Literal["session"] = "session"


@dataclass(frozen=True, slots=True)
class TurnInfo:
    """Numbers of one committed turn; num_tokens is the session's length after it."""

    turn: int
    created_at: int
    prompt_tokens: int
    completion_tokens: int
    num_tokens: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A named snapshot: the session as it was after `turn`. nbytes: its state and its token log.

    log_start: ids before it are not in the log.
    """

    turn: int
    num_tokens: int
    log_start: int
    created_at: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class SessionDetails:
    """A session with its memory, its turns and its snapshots.

    memory: bytes of states by tier; the store's include snapshots and states for rollback.
    turns: the last 256, oldest first.
    """

    info: SessionInfo
    memory: Mapping[Tier, int]
    turns: Sequence[TurnInfo]
    snapshots: Mapping[str, SnapshotInfo]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions of one owner by ascending id; totals cover all of them, not only this page.

    damaged: ids of sessions between these that cannot be read, only deleted. last_id: of this page.
    """

    sessions: list[SessionInfo]
    damaged: list[str]
    last_id: str
    has_more: bool
    totals: Mapping[Tier, TierTotal]
