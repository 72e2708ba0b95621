import threading
from functools import partial
from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import ENDLESS, FOREVER, HttpServer, connection, eventually, serving


def error_of(response: Any) -> tuple[int, str | None, str]:
    error = response.json()["error"]
    return response.status_code, error["param"], error["code"]


def test_state_bytes_do_not_depend_on_tokens(server: HttpServer) -> None:
    session_id = server.create_session(tokens=[1])
    sizes = {server.get(f"/v1/sessions/{session_id}").json()["state_bytes"]}
    for count in (999, 49_000):
        body = server.answer(f"/v1/sessions/{session_id}/append", {"tokens": [7] * count})
        sizes.add(body["state_bytes"])
    assert body["num_tokens"] == 50_000
    assert body["history_bytes"] == 4 * 50_000
    assert sizes == {server.get("/v1/models").json()["data"][0]["state_bytes"]}


def test_appended_text_is_read_as_one_prompt(server: HttpServer) -> None:
    session_id = server.create_session(text="the ")
    server.answer(f"/v1/sessions/{session_id}/append", {"text": "thin"})
    ids = [*server.answer("/tokenize", {"prompt": "the "})["tokens"]]
    ids += server.answer("/tokenize", {"prompt": "thin"})["tokens"]
    continued = server.complete("é", session_id=session_id, temperature=0, max_tokens=8)
    whole = server.complete(
        ids + server.answer("/tokenize", {"prompt": "é"})["tokens"], temperature=0, max_tokens=8
    )
    assert continued["choices"] == whole["choices"]


def test_empty_prompt_continues_a_session(server: HttpServer) -> None:
    """Replies forced to two letters, so that halves of a reply join to the whole."""
    letters = {str(ord("x") - 33): 100.0, str(ord("y") - 33): 100.0}
    fields = {"temperature": 0, "logit_bias": letters}
    session_id = server.create_session(text="the")
    first = server.complete("", session_id=session_id, max_tokens=5, **fields)
    second = server.answer("/v1/completions", {"session_id": session_id, "max_tokens": 5, **fields})
    whole = server.complete("the", max_tokens=10, **fields)
    halves = [answer["choices"][0]["text"] for answer in (first, second)]
    assert "".join(halves) == whole["choices"][0]["text"]
    assert [answer["session"]["num_tokens"] for answer in (first, second)] == [7, 12]


def test_stream_tells_the_session_in_its_last_chunk(server: HttpServer) -> None:
    session_id = server.create_session()
    events = server.events("/v1/completions", {"prompt": "the", "session_id": session_id, "max_tokens": 4})
    assert [event for event in events if "session" in event] == [events[-1]]
    stamp = events[-1]["session"]
    assert stamp == {name: server.get(f"/v1/sessions/{session_id}").json()[name] for name in stamp}


def test_expected_turn_guards_against_another_writer(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    fields = {"prompt": "in", "session_id": session_id, "max_tokens": 1}
    refused = server.post("/v1/completions", {**fields, "expected_turn": 0})
    assert error_of(refused) == (409, "expected_turn", "turn_conflict")
    assert refused.headers["x-should-retry"] == "false"
    assert server.complete(**fields, expected_turn=1)["session"]["turn"] == 2


def test_busy_session_takes_no_second_writer_and_cancel_keeps_what_was_delivered(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    body = {"prompt": "in", "session_id": session_id, "max_tokens": FOREVER, "ignore_eos": True}
    replies: list[Any] = []
    thread = threading.Thread(target=lambda: replies.append(server.post("/v1/completions", body)))
    thread.start()
    eventually(lambda: server.get(f"/v1/sessions/{session_id}").json()["tier"] == "device")
    held = server.get(f"/v1/sessions/{session_id}").json()
    assert held["memory"] == {"device": held["state_bytes"], "host": held["state_bytes"], "store": 0}
    assert error_of(server.post(f"/v1/sessions/{session_id}/append", {"text": "a"}))[0] == 409
    eventually(lambda: server.busy_slots() > 0)
    cancelled = server.post(f"/v1/sessions/{session_id}/cancel")
    thread.join(20)
    reply = replies[0].json()
    assert cancelled.json()["turn"] == 2
    assert reply["choices"][0]["finish_reason"] == "cancelled"
    after = server.get(f"/v1/sessions/{session_id}").json()
    assert (
        after["num_tokens"] == 2 + 1 + reply["usage"]["completion_tokens"] == reply["session"]["num_tokens"]
    )
    eventually(lambda: server.busy_slots() == 0)


def test_cancelled_append_is_a_409_and_keeps_nothing(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1) as server:
        session_id = server.create_session(text="the")
        path = f"/v1/sessions/{session_id}"
        before = server.get(path).json()
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            replies: list[Any] = []
            post = partial(server.post, f"{path}/append", {"text": "a"})
            thread = threading.Thread(target=lambda: replies.append(post()))
            thread.start()
            eventually(lambda: server.get(path).json()["tier"] == "device")
            assert server.post(f"{path}/cancel").status_code == 200
            thread.join(20)
        assert error_of(replies[0]) == (409, None, "cancelled")
        assert server.get(path).json() == before


def test_timeout_restores_the_last_turn(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    before = server.get(f"/v1/sessions/{session_id}").json()
    body = {
        "prompt": "in",
        "session_id": session_id,
        "max_tokens": FOREVER,
        "ignore_eos": True,
        "timeout": 0.2,
    }
    response = server.post("/v1/completions", body)
    assert response.status_code == 504
    assert response.headers["x-should-retry"] == "false"
    after = server.get(f"/v1/sessions/{session_id}").json()
    assert [after[name] for name in ("turn", "num_tokens", "turns")] == [
        before[name] for name in ("turn", "num_tokens", "turns")
    ]


def test_delete_ends_a_running_reply(server: HttpServer) -> None:
    session_id = server.create_session()
    body = {"prompt": "in", "session_id": session_id, "max_tokens": FOREVER, "ignore_eos": True}
    replies: list[Any] = []
    thread = threading.Thread(target=lambda: replies.append(server.post("/v1/completions", body)))
    thread.start()
    eventually(lambda: server.busy_slots() > 0)
    assert server.http.delete(f"/v1/sessions/{session_id}").json()["deleted"] is True
    thread.join(20)
    assert error_of(replies[0]) == (409, None, "session_deleted")
    assert error_of(server.get(f"/v1/sessions/{session_id}"))[0] == 404


def test_list_pages_through_all_sessions(loaded: Loaded) -> None:
    with serving(loaded) as server:
        created = {server.create_session(metadata={"i": str(i)}) for i in range(5)}
        seen: list[str] = []
        after = ""
        while True:
            page = server.get("/v1/sessions", params={"limit": 2, "after": after}).json()
            seen += [session["id"] for session in page["data"]]
            after = page["last_id"]
            if not page["has_more"]:
                break
        assert seen == sorted(created)
        assert page["totals"]["host"]["sessions"] == 5


def test_creating_with_a_bad_prompt_leaves_no_session(loaded: Loaded) -> None:
    with serving(loaded) as server:
        assert server.post("/v1/sessions", {"tokens": [999]}).status_code == 400
        assert server.get("/v1/sessions").json()["data"] == []


def test_expired_session_is_gone_to_its_owner(server: HttpServer) -> None:
    session_id = server.create_session(ttl_seconds=0.05)
    eventually(lambda: server.get(f"/v1/sessions/{session_id}").status_code == 410)
    assert error_of(server.post(f"/v1/sessions/{session_id}/append", {"text": "a"})) == (
        410,
        "session_id",
        "session_expired",
    )


def test_sessions_of_another_key_do_not_exist(loaded: Loaded) -> None:
    keys = {"a": "a" * 20, "b": "b" * 20}
    with serving(loaded, key=keys["a"], api_keys=",".join(f"{k}:{v}" for k, v in keys.items())) as server:
        session_id = server.create_session(text="the")
        other = {"authorization": f"Bearer {keys['b']}"}
        path = f"/v1/sessions/{session_id}"
        assert server.get("/v1/sessions", headers=other).json()["data"] == []
        answers = [
            server.get(path, headers=other),
            server.post(f"{path}/append", {"text": "a"}, headers=other),
            server.post(f"{path}/cancel", headers=other),
            server.http.delete(path, headers=other),
            server.post("/v1/completions", {"prompt": "a", "session_id": session_id}, headers=other),
        ]
        unknown = server.get("/v1/sessions/sess_unknown").text
        assert [answer.status_code for answer in answers] == [404] * 5
        assert {answer.text.replace(session_id, "sess_unknown") for answer in answers} == {unknown}
        assert server.get(path).status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"text": "", "tokens": None}, {"tokens": []}, {"text": "a", "tokens": [1]}]
)
def test_append_needs_text_or_tokens(server: HttpServer, body: dict[str, Any]) -> None:
    session_id = server.create_session()
    status, param, _ = error_of(server.post(f"/v1/sessions/{session_id}/append", body))
    assert status == 400
    assert param in ("text", "tokens")
    assert server.get(f"/v1/sessions/{session_id}").json()["turn"] == 0


def test_empty_append_to_a_session_without_pending_ids_is_a_turn_of_no_tokens(server: HttpServer) -> None:
    session_id = server.create_session(text="the")
    before = server.get(f"/v1/sessions/{session_id}").json()
    answer = server.complete("", session_id=session_id, max_tokens=0)
    assert (answer["choices"][0]["text"], answer["usage"]["total_tokens"]) == ("", 0)
    assert answer["session"]["turn"] == before["turn"] + 1
    assert answer["session"]["num_tokens"] == before["num_tokens"]
