"""Every call of the API as plain data: what to send and how to read the answer. No network here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pararnn_client import parse
from pararnn_client.types import Chunk, Completion, Json, Session, SessionList

T = TypeVar("T")
Message = Mapping[str, str]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and the reader of its answer.

    repeatable: doing it twice is the same as once, so a lost answer may be asked for again.
    """

    method: str
    path: str
    parse: Callable[[Json], T]
    body: Json | None = None
    query: Mapping[str, str | int] = field(default_factory=dict)
    repeatable: bool = False


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _session_path(session_id: str, verb: str = "") -> str:
    return f"/v1/sessions/{quote(session_id, safe='')}{verb}"


def create_session(
    *,
    text: str | None = None,
    tokens: Sequence[int] | None = None,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    ttl_seconds: float | None = None,
) -> Call[Session]:
    """A new session, with `text` or `tokens` already taken in."""
    body = _present(text=text, tokens=tokens, model=model, metadata=metadata, ttl_seconds=ttl_seconds)
    return Call("POST", "/v1/sessions", parse.session, body)


def list_sessions(*, limit: int | None = None, after: str | None = None) -> Call[SessionList]:
    """A page of the sessions of this key. after: the id that the page follows."""
    return Call(
        "GET", "/v1/sessions", parse.session_list, query=_present(limit=limit, after=after), repeatable=True
    )


def get_session(session_id: str) -> Call[Session]:
    """The session as of its last committed turn; `raw` holds its turns."""
    return Call("GET", _session_path(session_id), parse.session, repeatable=True)


def append_to_session(
    session_id: str,
    *,
    text: str | None = None,
    tokens: Sequence[int] | None = None,
    expected_turn: int | None = None,
    timeout: float | None = None,
) -> Call[Session]:
    """Take in `text` or `tokens` without a reply. expected_turn: a 409 unless the session stands there.

    timeout: seconds after which the server gives up and keeps nothing of it.
    """
    body = _present(text=text, tokens=tokens, expected_turn=expected_turn, timeout=timeout)
    return Call("POST", _session_path(session_id, "/append"), parse.session, body)


def cancel_session(session_id: str) -> Call[Session]:
    """End the running reply; what was delivered of it is kept. Without one, nothing changes."""
    return Call("POST", _session_path(session_id, "/cancel"), parse.session, {})


def delete_session(session_id: str) -> Call[Json]:
    """Forget the session, ending a running reply."""
    return Call("DELETE", _session_path(session_id), parse.json_object)


def complete(prompt: str | Sequence[int], *, model: str | None = None, **fields: Any) -> Call[Completion]:
    """A reply to `prompt` (text or token ids). fields: any that /v1/completions honours."""
    return Call("POST", "/v1/completions", parse.completion, _present(prompt=prompt, model=model, **fields))


def chat(messages: Sequence[Message], *, model: str | None = None, **fields: Any) -> Call[Completion]:
    """A reply to a list of {role, content}. fields: any that /v1/chat/completions honours."""
    body = _present(messages=messages, model=model, **fields)
    return Call("POST", "/v1/chat/completions", parse.completion, body)


def generate(session_id: str, prompt: str | Sequence[int] = "", **fields: Any) -> Call[Completion]:
    """Continue a session: `prompt` holds only what is new; empty goes on where the session stands."""
    return complete(prompt, session_id=session_id, **fields)


def chat_in_session(session_id: str, messages: Sequence[Message], **fields: Any) -> Call[Completion]:
    """Continue a session by chat: `messages` holds only the new ones."""
    return chat(messages, session_id=session_id, **fields)


def list_models() -> Call[Json]:
    """The models served."""
    return Call("GET", "/v1/models", parse.json_object, repeatable=True)


def streamed(call: Call[Completion]) -> Call[Chunk]:
    """The same request with its reply in pieces, usage in the last."""
    body = {**(call.body or {}), "stream": True, "stream_options": {"include_usage": True}}
    return Call(call.method, call.path, parse.chunk, body)
