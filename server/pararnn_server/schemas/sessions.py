"""/v1/sessions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pararnn_server.schemas.base import Metadata, RequestBody, ResponseBody, TokenIds
from pararnn_server.schemas.generation import Count
from pararnn_server.schemas.usage import Usage

Seconds = Annotated[float, Field(gt=0.0, le=10 * 365 * 86400.0)]
Tier = Literal["device", "host", "store"]


class SessionCreate(RequestBody):
    """What to start with, if anything: text or tokens, not both."""

    model: Annotated[str, Field(max_length=256)] | None = None
    text: str | None = None
    tokens: TokenIds | None = None
    metadata: Metadata | None = None
    ttl_seconds: Seconds | None = None


class SessionAppend(RequestBody):
    """Text or tokens to feed without generating anything."""

    text: str | None = None
    tokens: TokenIds | None = None
    expected_turn: Count | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None


class SessionBody(ResponseBody):
    """A session at its last committed turn. Times are seconds since 1970, sizes bytes."""

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


class Turn(ResponseBody):
    """Numbers of one turn; num_tokens is the session's length after it."""

    turn: int
    created_at: int
    prompt_tokens: int
    completion_tokens: int
    num_tokens: int
    duration_seconds: float


class SessionDetail(SessionBody):
    """A session with its memory by tier and its last 256 turns."""

    memory: dict[Tier, int]
    turns: list[Turn]


class AppendResponse(SessionBody):
    """The session after the append."""

    usage: Usage


class TierTotal(ResponseBody):
    """sessions: those of the tier. state_bytes: held there; a running one's last commit stays on the host."""

    sessions: int
    state_bytes: int


class SessionList(ResponseBody):
    """A page by ascending id; totals cover every session of the key."""

    object: Literal["list"]
    data: list[SessionBody]
    first_id: str | None
    last_id: str | None
    has_more: bool
    totals: dict[Tier, TierTotal]


class SessionDeleted(ResponseBody):
    """The session is gone; a running reply was ended first."""

    id: str
    object: Literal["session.deleted"]
    deleted: Literal[True]
