"""All calls of the API as plain data: the request to send and the function that reads the answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, ParamSpec, TypeVar
from urllib.parse import quote

from pararnn_client import parse
from pararnn_client.types import Chunk, Completion, Json, MonitorEvent, Session, SessionList

P = ParamSpec("P")
T = TypeVar("T")
Message = Mapping[str, str]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and the reader of its answer.

    body: JSON, or a session's file
    parse: reads the answer's JSON, or its bytes if `is_file`
    repeatable: sending it twice has the same effect as once, so it is sent again if an answer is lost
    key: sent as Idempotency-Key
    is_endless: a stream that the server may end at any event
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    body: Json | bytes | None = None
    query: Mapping[str, str | int | Sequence[str]] = field(default_factory=dict)
    repeatable: bool = False
    key: str | None = None
    is_file: bool = False
    is_endless: bool = False


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _session_path(session_id: str, verb: str = "") -> str:
    # An id with a slash or a question mark must not name another route.
    return f"/v1/sessions/{quote(session_id, safe='')}{verb}"


def create_session(
    *,
    text: str | None = None,
    tokens: Sequence[int] | None = None,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    ttl_seconds: float | None = None,
) -> Call[Session]:
    """Create a session. text, tokens: prefilled at once."""
    body = _present(text=text, tokens=tokens, model=model, metadata=metadata, ttl_seconds=ttl_seconds)
    # Not repeatable: if the answer is lost, a second request would make a second session.
    return Call("POST", "/v1/sessions", parse.session, body)


def list_sessions(*, limit: int | None = None, after: str | None = None) -> Call[SessionList]:
    """Return a page of this key's sessions. after: the last id of the page before."""
    return Call(
        "GET", "/v1/sessions", parse.session_list, query=_present(limit=limit, after=after), repeatable=True
    )


def get_session(session_id: str) -> Call[Session]:
    """Return the session at its last committed turn; `raw` has its turns."""
    return Call("GET", _session_path(session_id), parse.session, repeatable=True)


def update_session(
    session_id: str,
    *,
    metadata: Mapping[str, str] | None = None,
    ttl_seconds: float | None = None,
    pinned: bool | None = None,
    expected_turn: int | None = None,
) -> Call[Session]:
    """Change the fields that are given. pinned: it never expires and stays in the server's memory."""
    body = _present(metadata=metadata, ttl_seconds=ttl_seconds, pinned=pinned, expected_turn=expected_turn)
    return Call("PATCH", _session_path(session_id), parse.session, body)


def fork_session(
    session_id: str,
    *,
    metadata: Mapping[str, str] | None = None,
    expected_turn: int | None = None,
    idempotency_key: str | None = None,
) -> Call[Session]:
    """Create a session that continues from the last committed turn of this one."""
    body = _present(metadata=metadata, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/fork"), body, idempotency_key)


def save_snapshot(
    session_id: str, name: str, *, expected_turn: int | None = None, idempotency_key: str | None = None
) -> Call[Session]:
    """Save the session's current state under a name."""
    body = _present(name=name, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/snapshots"), body, idempotency_key)


def delete_snapshot(session_id: str, name: str) -> Call[Session]:
    """Delete a named snapshot."""
    path = _session_path(session_id, f"/snapshots/{quote(name, safe='')}")
    return Call("DELETE", path, parse.session)


def roll_back(
    session_id: str,
    turns: int | None = None,
    *,
    snapshot: str | None = None,
    expected_turn: int | None = None,
    idempotency_key: str | None = None,
) -> Call[Session]:
    """Undo the last `turns` turns, or return to a named snapshot."""
    body = _present(turns=turns, snapshot=snapshot, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/rollback"), body, idempotency_key)


def export_session(session_id: str, *, tokens: bool = False) -> Call[bytes]:
    """Return the session as a safetensors file. tokens: include its token log."""
    query = {"tokens": "true"} if tokens else {}
    path = _session_path(session_id, "/state")
    return Call("GET", path, bytes, query=query, repeatable=True, is_file=True)


def import_session(data: bytes) -> Call[Session]:
    """Create a session from an exported file."""
    return Call("POST", "/v1/sessions", parse.session, data)


def import_into_session(
    session_id: str, data: bytes, *, expected_turn: int | None = None, idempotency_key: str | None = None
) -> Call[Session]:
    """Replace a session's state by an exported file, as one more turn."""
    query, path = _present(expected_turn=expected_turn), _session_path(session_id, "/state")
    return Call("PUT", path, parse.session, data, query, idempotency_key is not None, idempotency_key)


def append_to_session(
    session_id: str,
    *,
    text: str | None = None,
    tokens: Sequence[int] | None = None,
    expected_turn: int | None = None,
    timeout: float | None = None,
    idempotency_key: str | None = None,
) -> Call[Session]:
    """Append `text` or `tokens` to a session without a reply.

    expected_turn: the answer is a 409 unless the session is at this turn
    timeout: seconds after which the server stops and keeps nothing of it
    idempotency_key: the server does it only once for a key, so it is sent again if its answer is lost
    """
    body = _present(text=text, tokens=tokens, expected_turn=expected_turn, timeout=timeout)
    return _write(_session_path(session_id, "/append"), body, idempotency_key)


def cancel_session(session_id: str) -> Call[Session]:
    """End the running reply and keep its delivered part. Without a running reply nothing changes."""
    return Call("POST", _session_path(session_id, "/cancel"), parse.session, {})


def delete_session(session_id: str) -> Call[Json]:
    """Delete the session and end its running reply."""
    return Call("DELETE", _session_path(session_id), parse.json_object)


def complete(prompt: str | Sequence[int], *, model: str | None = None, **fields: Any) -> Call[Completion]:
    """Return a reply to `prompt` (text or token ids). fields: any that /v1/completions honours."""
    return Call("POST", "/v1/completions", parse.completion, _present(prompt=prompt, model=model, **fields))


def chat(messages: Sequence[Message], *, model: str | None = None, **fields: Any) -> Call[Completion]:
    """Return a reply to a list of {role, content}. fields: any that /v1/chat/completions honours."""
    body = _present(messages=messages, model=model, **fields)
    return Call("POST", "/v1/chat/completions", parse.completion, body)


def generate(
    session_id: str, prompt: str | Sequence[int] = "", *, idempotency_key: str | None = None, **fields: Any
) -> Call[Completion]:
    """Continue a session. prompt: only the new text; if empty, the reply continues the session's text."""
    return _keyed(complete(prompt, session_id=session_id, **fields), idempotency_key)


def chat_in_session(
    session_id: str, messages: Sequence[Message], *, idempotency_key: str | None = None, **fields: Any
) -> Call[Completion]:
    """Continue a session by chat. messages: only the new ones."""
    return _keyed(chat(messages, session_id=session_id, **fields), idempotency_key)


def list_models() -> Call[Json]:
    """Return the served models."""
    return Call("GET", "/v1/models", parse.json_object, repeatable=True)


def monitor() -> Call[MonitorEvent]:
    """Watch the key's sessions, or with the admin key all: a snapshot, then changes. See MonitorView."""
    return Call("GET", "/v1/monitor", parse.monitor_event, repeatable=True, is_endless=True)


def list_admin_sessions(
    *,
    sort: str | None = None,
    order: str | None = None,
    owner: str | None = None,
    tier: str | None = None,
    search: str | None = None,
    metadata: Mapping[str, str] | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Call[SessionList]:
    """Return a page of the sessions of all keys; it needs the admin key. `raw` has owners, matches, totals.

    metadata: entries that a session must have. after: the last id of the page before.
    """
    entries = None if metadata is None else [f"{name}={value}" for name, value in metadata.items()]
    given = _present(sort=sort, order=order, owner=owner, tier=tier, search=search, limit=limit, after=after)
    query = given | _present(metadata=entries)
    return Call("GET", "/v1/admin/sessions", parse.session_list, query=query, repeatable=True)


def streamed(build: Callable[P, Call[Completion]]) -> Callable[P, Call[Chunk]]:
    """Return a function that builds the same request with a streamed reply."""

    @functools.wraps(build)
    def build_stream(*args: P.args, **kwargs: P.kwargs) -> Call[Chunk]:
        return _streamed(build(*args, **kwargs))

    return build_stream


def _streamed(call: Call[Completion]) -> Call[Chunk]:
    assert not isinstance(call.body, bytes)
    # Without this option a stream carries no usage.
    body = {**(call.body or {}), "stream": True, "stream_options": {"include_usage": True}}
    return Call(call.method, call.path, parse.chunk, body, repeatable=call.repeatable, key=call.key)


def _write(path: str, body: Json, key: str | None) -> Call[Session]:
    return _keyed(Call("POST", path, parse.session, body), key)


def _keyed(call: Call[T], key: str | None) -> Call[T]:
    """Add an idempotency key to a call."""
    # The server does a call with a key only once, so the client may send it again.
    return call if key is None else replace(call, key=key, repeatable=True)
