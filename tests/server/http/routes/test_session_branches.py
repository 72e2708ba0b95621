"""Fork, snapshots, rollback, pinning and Idempotency-Key over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.http.routes.test_sessions import error_of
from tests.server.http_server import FOREVER, HttpServer

GREEDY = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}


def session_of(server: HttpServer, session_id: str) -> dict[str, Any]:
    body = server.get(f"/v1/sessions/{session_id}").json()
    assert isinstance(body, dict)
    return body


def text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["text"])


def test_a_fork_a_rollback_and_a_snapshot_go_on_alike(server: HttpServer) -> None:
    session_id = server.create_session(text="the thin", metadata={"k": "v"})
    path = f"/v1/sessions/{session_id}"
    server.complete("in", session_id=session_id, **GREEDY)
    fork = server.answer(f"{path}/fork", {})
    server.answer(f"{path}/snapshots", {"name": "here"})
    expected = text(server.complete("é", session_id=session_id, **GREEDY))
    assert server.answer(f"{path}/rollback", {"turns": 1})["turn"] == 2
    assert text(server.complete("é", session_id=session_id, **GREEDY)) == expected
    assert server.answer(f"{path}/rollback", {"snapshot": "here"})["turn"] == 2
    assert text(server.complete("é", session_id=session_id, **GREEDY)) == expected
    assert (fork["parent_id"], fork["metadata"], fork["turn"]) == (session_id, {"k": "v"}, 2)
    assert text(server.complete("é", session_id=fork["id"], **GREEDY)) == expected
    assert list(session_of(server, session_id)["snapshots"]) == ["here"]
    assert server.http.delete(f"{path}/snapshots/here").status_code == 200
    assert error_of(server.http.delete(f"{path}/snapshots/here")) == (404, "snapshot", "not_found")


@pytest.mark.parametrize(
    ("verb", "body", "param"),
    [
        ("rollback", {}, "turns"),
        ("rollback", {"turns": 1, "snapshot": "a"}, "turns"),
        ("rollback", {"turns": 0}, "turns"),
        ("rollback", {"turns": 5}, "turns"),
        ("snapshots", {"name": "a b"}, "name"),
        ("snapshots", {"name": ""}, "name"),
        ("snapshots", {}, "name"),
        ("fork", {"text": "a"}, "text"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(
    server: HttpServer, verb: str, body: dict[str, Any], param: str
) -> None:
    session_id = server.create_session(text="the")
    before = session_of(server, session_id)
    assert error_of(server.post(f"/v1/sessions/{session_id}/{verb}", body))[:2] == (400, param)
    assert session_of(server, session_id) == before


def test_patch_changes_what_it_names(server: HttpServer) -> None:
    session_id = server.create_session(metadata={"k": "v"}, ttl_seconds=100)
    path = f"/v1/sessions/{session_id}"
    pinned = server.http.patch(path, json={"pinned": True}).json()
    assert (pinned["pinned"], pinned["expires_at"], pinned["metadata"]) == (True, None, {"k": "v"})
    changed = server.http.patch(path, json={"metadata": {}, "pinned": False, "ttl_seconds": 5}).json()
    assert (changed["metadata"], changed["expires_at"] - changed["last_used_at"]) == ({}, 5)
    assert error_of(server.http.patch(path, json={"pinned": "yes"}))[:2] == (400, "pinned")


def keyed(server: HttpServer, key: str, path: str, body: dict[str, Any]) -> Any:
    return server.post(path, body, headers={"idempotency-key": key})


def test_a_reply_asked_for_twice_is_given_twice_and_made_once(server: HttpServer) -> None:
    session_id = server.create_session()
    body = {"prompt": "the", "session_id": session_id, "seed": 3, "max_tokens": 8, "logprobs": 2}
    first = keyed(server, "k1", "/v1/completions", body)
    again = keyed(server, "k1", "/v1/completions", body)
    assert first.status_code == 200
    assert again.json() == first.json()
    assert session_of(server, session_id)["turn"] == 1
    assert keyed(server, "k2", "/v1/completions", body).json()["session"]["turn"] == 2


def test_a_chat_asked_for_twice_is_the_same_streamed_or_not(server: HttpServer) -> None:
    """The second time the session is not empty any more: its prompt must not be read again."""
    session_id = server.create_session()
    messages = [{"role": "system", "content": "the"}, {"role": "user", "content": "thé"}]
    body = {"messages": messages, "session_id": session_id, "seed": 3, "max_tokens": 8}
    whole = keyed(server, "k", "/v1/chat/completions", body).json()
    stream = keyed(server, "k", "/v1/chat/completions", {**body, "stream": True}).text
    assert stream.endswith("data: [DONE]\n\n")
    pieces = [line for line in stream.splitlines() if '"content":' in line]
    assert whole["id"] in stream
    assert session_of(server, session_id)["turn"] == 1
    said = whole["choices"][0]["message"]["content"]
    assert (len(pieces) > 0) == bool(said)


def test_an_append_and_a_fork_asked_for_twice_happen_once(server: HttpServer) -> None:
    session_id = server.create_session()
    path = f"/v1/sessions/{session_id}"
    first = keyed(server, "k1", f"{path}/append", {"text": "the"}).json()
    assert keyed(server, "k1", f"{path}/append", {"text": "the"}).json() == first
    assert first["turn"] == 1
    child = keyed(server, "k2", f"{path}/fork", {}).json()
    assert keyed(server, "k2", f"{path}/fork", {}).json()["id"] == child["id"]
    rolled = keyed(server, "k3", f"{path}/rollback", {"turns": 1}).json()
    assert keyed(server, "k3", f"{path}/rollback", {"turns": 1}).json()["turn"] == rolled["turn"] == 0


def test_a_key_of_another_request_is_a_400(server: HttpServer) -> None:
    session_id = server.create_session()
    path = f"/v1/sessions/{session_id}/append"
    keyed(server, "k", path, {"text": "the"})
    refused = keyed(server, "k", path, {"text": "in"})
    assert error_of(refused) == (400, "Idempotency-Key", "idempotency_key_reused")
    assert error_of(keyed(server, "two words", path, {"text": "in"}))[:2] == (400, "Idempotency-Key")
    assert session_of(server, session_id)["turn"] == 1


def test_a_failed_request_may_be_sent_again_under_its_key(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    body = {"prompt": "in", "session_id": session_id, "ignore_eos": True}
    late = keyed(server, "k", "/v1/completions", {**body, "max_tokens": FOREVER, "timeout": 0.1})
    assert late.status_code == 504
    done = keyed(server, "k", "/v1/completions", {**body, "max_tokens": 2})
    assert done.status_code == 200
