"""Each field of POST /v1/messages does what docs/api.md says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pararnn_server.http.schemas.messages import (
    MessageCountRequest,
    MessageHonoured,
    MessageNeutral,
    MessageRecorded,
    MessageRequest,
)

from tests.server.http.routes.message_calls import (
    BASE,
    COUNT,
    MESSAGES,
    ask,
    events,
    text_of,
    tokens,
    user,
)
from tests.server.http.test_documentation import section
from tests.server.http_server import HttpServer, eventually

DIFFERENCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({}, {"max_tokens": 3}),
    "messages": ({}, {"messages": [user("other")]}),
    "system": ({}, {"system": "other"}),
    "stop_sequences": ({}, {"stop_sequences": list("etaoinshrdlu xyz"), "max_tokens": 200}),
    "temperature": ({}, {"temperature": 0}),
    "top_p": ({}, {"top_p": 0.01}),
    "top_k": ({}, {"top_k": 1}),
    "seed": ({}, {"seed": 12}),
    "output_config": ({}, {"output_config": {"format": {"type": "json_schema", "schema": {"const": 7}}}}),
}
TESTED_ELSEWHERE = {
    *("model", "stream", "session_id", "expected_turn", "cache_salt", "timeout", "cache_control"),
}
NEUTRAL: list[tuple[str, Any]] = [
    ("output_config", {"effort": "high"}),
    ("output_config", {}),
    ("service_tier", "auto"),
    ("service_tier", "standard_only"),
    ("speed", "standard"),
    ("thinking", {"type": "disabled"}),
    ("thinking", {"type": "adaptive", "display": "omitted"}),
    ("tool_choice", {"type": "none"}),
    ("tool_choice", {"type": "auto", "disable_parallel_tool_use": True}),
    ("tools", []),
    ("thread", None),
    ("metadata", {"user_id": "u"}),
    ("surprise", None),
]


def documented() -> dict[str, str]:
    """Kind of each field."""
    return dict(re.findall(r"^\| `(\w+)` \| (honoured|recorded|neutral) \|", section("Messages"), re.M))


def test_the_published_table_is_that_of_the_schema() -> None:
    kinds = {"honoured": MessageHonoured, "recorded": MessageRecorded, "neutral": MessageNeutral}
    fields = {name: kind for kind, model in kinds.items() for name in model.model_fields}
    assert documented() == fields
    assert fields.keys() == MessageRequest.model_fields.keys() >= MessageCountRequest.model_fields.keys()


def test_every_field_is_tried() -> None:
    tried = DIFFERENCES.keys() | TESTED_ELSEWHERE | {field for field, _ in NEUTRAL}
    assert documented().keys() <= tried


@pytest.mark.parametrize("field", DIFFERENCES)
def test_honoured_field_changes_the_answer(server: HttpServer, field: str) -> None:
    common, change = DIFFERENCES[field]
    plain, again, changed = (
        server.answer(MESSAGES, {"messages": [user()], **BASE, **common, **fields})
        for fields in ({}, {}, change)
    )
    assert text_of(plain) == text_of(again) != text_of(changed)


@pytest.mark.parametrize(("field", "value"), NEUTRAL)
def test_neutral_value_changes_nothing(server: HttpServer, field: str, value: Any) -> None:
    assert text_of(ask(server)) == text_of(ask(server, **{field: value}))


def test_what_is_recorded_goes_to_the_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pararnn.access")
    ask(server, metadata={"user_id": "somebody"})
    eventually(lambda: "somebody" in caplog.text)


def test_headers_and_query_of_beta_clients_change_nothing(server: HttpServer) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "fine-grained-tool-streaming-2025-05-14"}
    body = {"messages": [user()], **BASE}
    beta = server.post(MESSAGES, body, headers=headers, params={"beta": "true"})
    assert text_of(beta.json()) == text_of(ask(server))
    assert server.post(COUNT, {"messages": [user()]}, params={"beta": "true"}).status_code == 200


def test_a_session_reads_only_what_is_new(server: HttpServer) -> None:
    session_id = server.create_session()
    first = ask(server, user("the"), session_id=session_id, expected_turn=0)
    data = dict(events(server, user("in"), session_id=session_id, expected_turn=1))
    assert (first["session"]["turn"], data["message_delta"]["session"]["turn"]) == (1, 2)
    assert tokens(data["message_delta"]["usage"])[0] < 12
    late = server.post(MESSAGES, {"messages": [user()], **BASE, "session_id": session_id, "expected_turn": 1})
    assert (late.status_code, late.json()["error"]["type"]) == (409, "conflict_error")
    assert late.headers["x-should-retry"] == "false"


def test_a_turn_of_a_session_is_answered_once(server: HttpServer) -> None:
    body = {"messages": [user()], **BASE, "session_id": server.create_session()}
    headers = {"idempotency-key": "once"}
    first, again = (server.post(MESSAGES, body, headers=headers).json() for _ in range(2))
    assert first == again
    other = server.post(MESSAGES, body | {"messages": [user("other")]}, headers=headers)
    assert other.status_code == 409 or other.status_code == 400
