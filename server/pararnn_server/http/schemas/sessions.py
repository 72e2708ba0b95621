"""/v1/sessions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pararnn_server.http.schemas.base import Examples, Metadata, RequestBody, ResponseBody, TokenIds
from pararnn_server.http.schemas.generation import Count
from pararnn_server.http.schemas.usage import Usage

Seconds = Annotated[float, Field(gt=0.0, le=10 * 365 * 86400.0)]
SnapshotName = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$", max_length=64)]
Tier = Literal["device", "host", "store"]


class SessionCreate(RequestBody):
    """The start of a session, if it has one: text or tokens, not both."""

    EXAMPLES: ClassVar[Examples] = {
        "empty": {},
        "text": {"text": "import os\n", "metadata": {"topic": "demo"}, "ttl_seconds": 3600},
    }

    model: Annotated[str, Field(max_length=256)] | None = None
    text: str | None = None
    tokens: TokenIds | None = None
    metadata: Metadata | None = None
    ttl_seconds: Seconds | None = None


class SessionAppend(RequestBody):
    """Text or tokens to feed without generating anything."""

    EXAMPLES: ClassVar[Examples] = {"text": {"text": "import sys\n"}, "tokens": {"tokens": [1, 2, 3]}}

    text: str | None = None
    tokens: TokenIds | None = None
    expected_turn: Count | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None


class SessionPatch(RequestBody):
    """Changes of a session; what is left out stays.

    metadata: in place of all there was. pinned: never expires, stays in memory.
    """

    EXAMPLES: ClassVar[Examples] = {
        "metadata": {"metadata": {"topic": "demo"}},
        "time to live": {"ttl_seconds": 600},
        "pin": {"pinned": True},
    }

    metadata: Metadata | None = None
    ttl_seconds: Seconds | None = None
    pinned: bool | None = None
    expected_turn: Count | None = None


class SessionFork(RequestBody):
    """metadata: of the new session; left out, that of the old one."""

    EXAMPLES: ClassVar[Examples] = {"fork": {}, "metadata": {"metadata": {"try": "2"}}}

    metadata: Metadata | None = None
    expected_turn: Count | None = None


class SnapshotCreate(RequestBody):
    """A name for the current point of the session."""

    EXAMPLES: ClassVar[Examples] = {"snapshot": {"name": "before-the-question"}}

    name: SnapshotName
    expected_turn: Count | None = None


class SessionRollback(RequestBody):
    """Either how many turns to undo, or the snapshot to go back to."""

    EXAMPLES: ClassVar[Examples] = {
        "turns": {"turns": 1},
        "snapshot": {"snapshot": "before-the-question"},
    }

    turns: Annotated[int, Field(ge=1)] | None = None
    snapshot: SnapshotName | None = None
    expected_turn: Count | None = None


class SessionBody(ResponseBody):
    """A session at its last committed turn. Times are seconds since 1970, sizes bytes.

    build_changed: the state, or one before it, was computed by another build or instruction set level.
    """

    id: str
    object: Literal["session"]
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
    metadata: Metadata
    expires_at: int | None
    pinned: bool
    build_changed: bool


class Turn(ResponseBody):
    """Numbers of one turn; num_tokens is the session's length after it."""

    turn: int
    created_at: int
    prompt_tokens: int
    completion_tokens: int
    num_tokens: int
    duration_seconds: float


class Snapshot(ResponseBody):
    """The session as it was after `turn`. nbytes: its state and its log, which begins with id log_start."""

    turn: int
    num_tokens: int
    log_start: int
    created_at: int
    nbytes: int


class SessionDetail(SessionBody):
    """A session with its memory by tier, its last 256 turns and its named snapshots."""

    memory: dict[Tier, int]
    turns: list[Turn]
    snapshots: dict[str, Snapshot]


class AppendResponse(SessionBody):
    """The session after the append."""

    usage: Usage


class TierTotal(ResponseBody):
    """sessions: whose state is nearest there. state_bytes: held there; the store has all, and the logs."""

    sessions: int
    state_bytes: int


class SessionList(ResponseBody):
    """A page by ascending id; totals cover every session of the key."""

    object: Literal["list"]
    data: list[SessionBody]
    first_id: str | None
    last_id: str | None
    damaged: list[str]
    has_more: bool
    totals: dict[Tier, TierTotal]


class SessionDeleted(ResponseBody):
    """The session is gone; a running reply was ended first."""

    id: str
    object: Literal["session.deleted"]
    deleted: Literal[True]
