"""Conversion of the server's JSON to the dataclasses of `types`. Unexpected JSON raises InvalidReply."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pararnn_client.errors import InvalidReply
from pararnn_client.types import Chunk, Completion, Json, MonitorEvent, Session, SessionList, Usage

_SESSION_FIELDS = tuple(f.name for f in dataclasses.fields(Session) if f.name != "raw")


def session(body: Json) -> Session:
    """Read a session object."""
    # Fields of a newer server are ignored here and remain in raw.
    known = {name: body[name] for name in _SESSION_FIELDS if body.get(name) is not None}
    try:
        return Session(**known, raw=body)
    except TypeError as error:
        raise InvalidReply(f"the server's session object does not fit: {error}") from None


def session_list(body: Json) -> SessionList:
    """Read a page of sessions."""
    return SessionList(
        data=tuple(session(item) for item in _member(body, "data", list)),
        has_more=bool(body.get("has_more", False)),
        raw=body,
    )


def monitor_event(body: Json) -> MonitorEvent:
    """Read an event of the monitor."""
    return MonitorEvent(
        is_snapshot=body.get("type") == "snapshot",
        time=float(body.get("time", 0.0)),
        sessions=tuple(session(item) for item in _member(body, "sessions", list)),
        removed=tuple(body.get("removed", ())),
        raw=body,
    )


def json_object(body: Json) -> Json:
    """Return the answer unchanged."""
    return body


def usage(body: Json) -> Usage | None:
    """Read the usage of a reply; None if the server sent none."""
    counts = body.get("usage")
    if not isinstance(counts, Mapping):
        return None
    details = counts.get("prompt_tokens_details")
    return Usage(
        prompt_tokens=int(counts.get("prompt_tokens", 0)),
        completion_tokens=int(counts.get("completion_tokens", 0)),
        cached_tokens=int(details.get("cached_tokens", 0)) if isinstance(details, Mapping) else 0,
    )


def completion(body: Json) -> Completion:
    """Read a whole reply: the text or message of `choices[0]`."""
    choice = _first_choice(body)
    if choice is None:
        raise InvalidReply("the server's reply has no choices")
    return Completion(
        id=str(body.get("id", "")),
        text=_text(choice, "message"),
        finish_reason=choice.get("finish_reason"),
        usage=usage(body),
        raw=body,
    )


def chunk(body: Json) -> Chunk:
    """Read a chunk of a stream. A chunk without choices has only usage."""
    choice = _first_choice(body) or {}
    return Chunk(
        text=_text(choice, "delta"),
        finish_reason=choice.get("finish_reason"),
        usage=usage(body),
        raw=body,
    )


def _first_choice(body: Json) -> Json | None:
    choices = _member(body, "choices", list)
    return choices[0] if choices else None


def _text(choice: Json, chat_key: str) -> str:
    message = choice.get(chat_key)
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    # The content of a chat message may be null.
    return text or ""


def _member(body: Json, name: str, kind: type) -> Any:
    value = body.get(name)
    if not isinstance(value, kind):
        raise InvalidReply(f"the server's reply has no {name!r} {kind.__name__}")
    return value
