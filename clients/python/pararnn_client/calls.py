"""Every call of the API as plain data: what to send and how to read the answer. No network here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pararnn_client import parse
from pararnn_client.types import Chunk, Completion, Json, Session, SessionList

T = TypeVar("T")
Message = Mapping[str, str]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and the reader of its answer.

    body: JSON, or a session's file. parse: reads the answer's JSON, or takes its bytes where `is_file`.
    repeatable: doing it twice is the same as once, so a lost answer may be asked for again.
    key: sent as Idempotency-Key.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    body: Json | bytes | None = None
    query: Mapping[str, str | int] = field(default_factory=dict)
    repeatable: bool = False
    key: str | None = None
    is_file: bool = False


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


def update_session(
    session_id: str,
    *,
    metadata: Mapping[str, str] | None = None,
    ttl_seconds: float | None = None,
    pinned: bool | None = None,
    expected_turn: int | None = None,
) -> Call[Session]:
    """Change what is named; the rest stays. pinned: never expires and stays in the server's memory."""
    body = _present(metadata=metadata, ttl_seconds=ttl_seconds, pinned=pinned, expected_turn=expected_turn)
    return Call("PATCH", _session_path(session_id), parse.session, body)


def fork_session(
    session_id: str,
    *,
    metadata: Mapping[str, str] | None = None,
    expected_turn: int | None = None,
    idempotency_key: str | None = None,
) -> Call[Session]:
    """A new session that goes on from the last committed turn of this one."""
    body = _present(metadata=metadata, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/fork"), body, idempotency_key)


def save_snapshot(
    session_id: str, name: str, *, expected_turn: int | None = None, idempotency_key: str | None = None
) -> Call[Session]:
    """Give a name to where the session stands."""
    body = _present(name=name, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/snapshots"), body, idempotency_key)


def delete_snapshot(session_id: str, name: str) -> Call[Session]:
    """Forget a named snapshot."""
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
    """Undo the last `turns`, or go back to a named snapshot."""
    body = _present(turns=turns, snapshot=snapshot, expected_turn=expected_turn)
    return _write(_session_path(session_id, "/rollback"), body, idempotency_key)


def export_session(session_id: str, *, tokens: bool = False) -> Call[bytes]:
    """The session as a safetensors file. tokens: with its token log."""
    query = {"tokens": "true"} if tokens else {}
    path = _session_path(session_id, "/state")
    return Call("GET", path, bytes, query=query, repeatable=True, is_file=True)


def import_session(data: bytes) -> Call[Session]:
    """A new session out of an exported file."""
    return Call("POST", "/v1/sessions", parse.session, data)


def import_into_session(
    session_id: str, data: bytes, *, expected_turn: int | None = None, idempotency_key: str | None = None
) -> Call[Session]:
    """Put an exported file in place of a session, as one more turn."""
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
    """Take in `text` or `tokens` without a reply. expected_turn: a 409 unless the session stands there.

    timeout: seconds after which the server gives up and keeps nothing of it. idempotency_key: makes it happen
    once however often it is sent, so that it is tried again where its answer was lost.
    """
    body = _present(text=text, tokens=tokens, expected_turn=expected_turn, timeout=timeout)
    return _write(_session_path(session_id, "/append"), body, idempotency_key)


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


def generate(
    session_id: str, prompt: str | Sequence[int] = "", *, idempotency_key: str | None = None, **fields: Any
) -> Call[Completion]:
    """Continue a session: `prompt` holds only what is new; empty goes on where the session stands."""
    return _keyed(complete(prompt, session_id=session_id, **fields), idempotency_key)


def chat_in_session(
    session_id: str, messages: Sequence[Message], *, idempotency_key: str | None = None, **fields: Any
) -> Call[Completion]:
    """Continue a session by chat: `messages` holds only the new ones."""
    return _keyed(chat(messages, session_id=session_id, **fields), idempotency_key)


def list_models() -> Call[Json]:
    """The models served."""
    return Call("GET", "/v1/models", parse.json_object, repeatable=True)


def streamed(call: Call[Completion]) -> Call[Chunk]:
    """The same request with its reply in pieces, usage in the last."""
    assert not isinstance(call.body, bytes)
    body = {**(call.body or {}), "stream": True, "stream_options": {"include_usage": True}}
    return Call(call.method, call.path, parse.chunk, body, repeatable=call.repeatable, key=call.key)


def _write(path: str, body: Json, key: str | None) -> Call[Session]:
    return _keyed(Call("POST", path, parse.session, body), key)


def _keyed(call: Call[T], key: str | None) -> Call[T]:
    """What has a key may be sent again: it happens once."""
    return call if key is None else replace(call, key=key, repeatable=True)
