"""What the server answers, as frozen dataclasses. Unknown fields stay in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Session:
    """One conversation and what it costs.

    id: made by the server. model: the name it is bound to.
    num_tokens: tokens taken in so far. turn: committed turns.
    state_bytes: the recurrent state; the same after one token and after a million.
    snapshot_bytes, history_bytes: saved states; the token log, which does grow.
    created_at, last_used_at, expires_at: seconds since 1970; None = never.
    """

    id: str
    model: str
    created_at: float
    last_used_at: float
    num_tokens: int
    turn: int
    state_bytes: int
    snapshot_bytes: int = 0
    history_bytes: int = 0
    tier: str | None = None
    parent_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class SessionList:
    """One page of sessions. For the next page, pass the last id as `after`."""

    data: tuple[Session, ...]
    has_more: bool
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Usage:
    """Tokens. cached_tokens: those of the prompt that needed no work."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """A whole reply, of text or chat alike. finish_reason: stop, length, cancelled, timeout or abort."""

    id: str
    text: str
    finish_reason: str | None
    usage: Usage | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed reply. text may be empty; the last pieces carry finish_reason and usage."""

    text: str
    finish_reason: str | None
    usage: Usage | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)
