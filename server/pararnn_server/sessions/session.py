"""A session as clients see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tier = Literal["device", "host", "store"]
TIERS: tuple[Tier, ...] = ("device", "host", "store")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The last committed turn. Times are seconds since 1970, sizes bytes.

    num_tokens: ids of the session, those sampled and not yet fed included.
    state_bytes: the state; the same whatever num_tokens is.
    snapshot_bytes: named snapshots.  history_bytes: the token log, four bytes an id.
    tier: "device" while a turn runs, else where the state is kept.
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
class TierTotal:
    """sessions: those of the tier. state_bytes: held there; a running one's last commit stays on the host."""

    sessions: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions of one owner by ascending id; totals cover all of them, not only this page."""

    sessions: list[SessionInfo]
    has_more: bool
    totals: Mapping[Tier, TierTotal]
