"""The server's answers as frozen dataclasses. Unknown fields are in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Session:
    """A session and its memory.

    id: made by the server; model: name of the session's model
    num_tokens: tokens in the session; turn: number of committed turns
    state_bytes: of the recurrent state, the same after one token and after a million
    snapshot_bytes, history_bytes: of saved states, and of the token log, which grows
    created_at, last_used_at, expires_at: seconds since 1970; None is never
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
class MonitorEvent:
    """An event of the monitor: all of it, or what has changed since the event before.

    sessions: all, or those that are new or different. removed: ids of those that are gone.
    `raw` has the other members: running, budgets, latency, steps, models; absent where nothing changed.
    """

    is_snapshot: bool
    time: float
    sessions: tuple[Session, ...]
    removed: tuple[str, ...] = ()
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Usage:
    """Numbers of tokens. cached_tokens: tokens of the prompt that were already computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """A whole reply, of text or of chat. finish_reason: stop, length, cancelled, timeout or abort."""

    id: str
    text: str
    finish_reason: str | None
    usage: Usage | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Chunk:
    """A chunk of a streamed reply. text may be empty; the last chunks have finish_reason and usage."""

    text: str
    finish_reason: str | None
    usage: Usage | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)
