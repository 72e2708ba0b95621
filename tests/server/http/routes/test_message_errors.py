"""Errors of /v1/messages have the shape that Anthropic's clients read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import Anthropic, APIStatusError
from pararnn_server.http.messages_to_chat import chat_of
from pararnn_server.http.schemas.chat import ChatRequest
from pararnn_server.http.schemas.messages import (
    MessageRequest,
)
from pararnn_server.models.loading import Loaded
from pararnn_server.models.registry import ModelRegistry

from tests.server.http.routes.message_calls import (
    BASE,
    MESSAGES,
    assistant,
    text,
    tokens,
    user,
)
from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "a"}, "messages"),
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [user(7)]}, "messages.0.content"),
    ({"messages": [user() | {"name": "ann"}]}, "messages.0.name"),
    ({"messages": [user([{"type": "image", "source": {}}])]}, "messages.0.content.0.type"),
    ({"messages": [user([{"type": "document", "source": {}}])]}, "messages.0.content.0.type"),
    (
        {"messages": [user([text("a", cache_control={"type": "other"})])]},
        "messages.0.content.0.cache_control.type",
    ),
    ({"messages": [user([text("a", citations=[{}])])]}, "messages.0.content.0.citations"),
    ({"messages": [user([text("a", colour="red")])]}, "messages.0.content.0.colour"),
    (
        {"messages": [user([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])]},
        "messages.0.content.0.type",
    ),
    (
        {"messages": [user(), assistant([{"type": "tool_result", "tool_use_id": "a"}])]},
        "messages.1.content.0.type",
    ),
    (
        {"messages": [user([text("a"), {"type": "tool_result", "tool_use_id": "a"}])]},
        "messages.0.content.1",
    ),
    (
        {"messages": [user([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}])]},
        "messages.0.content.0.content.0.type",
    ),
    (
        {"messages": [user(), assistant([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])]},
        "messages.1.content",
    ),
    (
        {"messages": [{"role": "system", "content": [{"type": "thinking", "thinking": "a"}]}]},
        "messages.0.content.0.type",
    ),
    ({"system": [{"type": "image"}]}, "system.0.type"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"temperature": "1"}, "temperature"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": [""]}, "stop_sequences.0"),
    ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
    ({"stop_sequences": "a"}, "stop_sequences"),
    ({"metadata": {"user": "a"}}, "metadata.user"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
    ({"output_config": {"effort": "low"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"output_config": {"format": {"type": "text", "schema": {}}}}, "output_config.format.type"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "strange"}}}},
        "output_config.format.schema",
    ),
    ({"cache_control": {"type": "ephemeral", "ttl": "30m"}}, "cache_control.ttl"),
    ({"messages": [user([text("a", cache_control={"type": "ephemeral"})] * 5)]}, "cache_control"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"speed": "fast"}, "speed"),
    ({"container": "x"}, "container"),
    ({"thread": {"type": "create"}}, "thread"),
    ({"stop": "a"}, "stop"),
    ({"n": 2}, "n"),
    ({"timeout": 10**6}, "timeout"),
    ({"expected_turn": 1}, "expected_turn"),
]


def check_error(response: Any, status: int, kind: str, param: str | None) -> str:
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (status, "error", kind), body
    assert body["error"]["details"]["param"] == param
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    return str(body["error"]["message"])


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_a_bad_field_is_a_400_that_names_it(server: HttpServer, fields: dict[str, Any], param: str) -> None:
    response = server.post(MESSAGES, {"messages": [user()], **BASE, **fields})
    message = check_error(response, 400, "invalid_request_error", param)
    assert param.split(".")[0] in message


@pytest.mark.parametrize("streams", [False, True])
def test_an_error_of_the_engine_names_the_field_of_the_message(server: HttpServer, streams: bool) -> None:
    """A schema that only the engine can refuse, when it follows the reply."""
    form = {"format": {"type": "json_schema", "schema": {"$ref": "#"}}}
    response = server.post(MESSAGES, {"messages": [user()], **BASE, "stream": streams, "output_config": form})
    event = response.text.rpartition("data: ")[2] if streams else response.text
    fault = json.loads(event)["error"]
    assert fault["details"]["param"] == "output_config.format.schema"
    assert fault["message"].startswith("output_config.format.schema: ")


def test_an_image_is_refused_because_only_text_is_read(server: HttpServer) -> None:
    response = server.post(MESSAGES, {"messages": [user([{"type": "image", "source": {}}])], **BASE})
    assert "reads text alone" in response.json()["error"]["message"]


KEY = "k" * 20


def test_every_error_below_messages_has_the_shape_of_its_clients(loaded: Loaded) -> None:
    body = {"messages": [user()], **BASE}
    with serving(loaded, key=KEY, api_keys=f"one:{KEY}", max_body_bytes=4096) as server:
        for headers in ({"authorization": "Bearer no"}, {"x-api-key": "no", "authorization": ""}):
            check_error(server.post(MESSAGES, body, headers=headers), 401, "authentication_error", None)
        assert server.post(MESSAGES, body, headers={"x-api-key": KEY, "authorization": ""}).status_code == 200
        missing = server.post(MESSAGES, body | {"model": "claude"})
        assert "claude" in check_error(missing, 404, "not_found_error", "model")
        check_error(server.get("/v1/messages/batches"), 404, "not_found_error", None)
        check_error(server.get(MESSAGES), 405, "invalid_request_error", None)
        large = server.post(MESSAGES, body | {"system": "a" * 5000})
        check_error(large, 413, "request_too_large", "body")
        plain = server.post(MESSAGES, content=b"{}", headers={"content-type": "text/plain"})
        check_error(plain, 415, "invalid_request_error", None)
        check_error(
            server.post(MESSAGES, None, content=b"{", headers=JSON), 400, "invalid_request_error", "body"
        )
        late = server.post(MESSAGES, body | {"timeout": 1e-6})
        check_error(late, 504, "timeout_error", None)
        unknown = server.post(MESSAGES, body | {"session_id": "sess_x"})
        check_error(unknown, 404, "not_found_error", "session_id")
        query = server.post(MESSAGES, body, params={"x": "1"})
        check_error(query, 400, "invalid_request_error", "x")


JSON = {"content-type": "application/json"}


def test_limits_and_faults_have_the_shape_of_its_clients(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"messages": [user()], **BASE}
    with serving(loaded, key_max_requests=1) as server:
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            check_error(server.post(MESSAGES, body), 429, "rate_limit_error", None)
        eventually(lambda: server.busy_slots() == 0)
        ready, server.service.models = server.service.models, ModelRegistry()
        try:
            loading = server.post(MESSAGES, body)
            check_error(loading, 529, "overloaded_error", None)
            assert "retry-after" in loading.headers
        finally:
            server.service.models = ready

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("a secret")

        monkeypatch.setattr("pararnn_server.http.routes.messages.chat_of", fail)
        assert "secret" not in check_error(server.post(MESSAGES, body), 500, "api_error", None)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that do not end by themselves; no field of the route asks for them."""

    def without_end(body: MessageRequest) -> ChatRequest:
        return chat_of(body).model_copy(update={"ignore_eos": True})

    monkeypatch.setattr("pararnn_server.http.routes.messages.chat_of", without_end)


@pytest.mark.usefixtures("endless")
def test_what_fails_in_the_middle_is_an_event(server: HttpServer) -> None:
    session_id = server.create_session()
    body = {"messages": [user()], "max_tokens": 100_000, "stream": True, "session_id": session_id}
    with server.http.stream("POST", MESSAGES, json=body) as stream:
        lines = stream.iter_lines()
        for line in lines:
            if line == "event: content_block_delta":
                break
        server.http.delete(f"/v1/sessions/{session_id}")
        rest = list(lines)
        request_id = stream.headers["request-id"]
    assert rest[-3] == "event: error"
    error = json.loads(rest[-2].removeprefix("data: "))
    assert error["error"]["type"] == "conflict_error"
    assert (error["type"], error["request_id"]) == ("error", request_id)


@pytest.mark.usefixtures("endless")
def test_the_client_raises_what_fails_in_the_middle(server: HttpServer) -> None:
    session_id = server.create_session()
    fields: dict[str, Any] = {"extra_body": {"session_id": session_id}, "max_tokens": 100_000}
    with (
        Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
        pytest.raises(APIStatusError, match="deleted") as failed,
        client.messages.stream(model="tiny", messages=[{"role": "user", "content": "a"}], **fields) as stream,
    ):
        for event in stream:
            if event.type == "text":
                server.http.delete(f"/v1/sessions/{session_id}")
    assert failed.value.type == "conflict_error"
    assert failed.value.request_id


def test_a_silent_stream_pings_as_its_clients_expect(loaded: Loaded) -> None:
    with serving(loaded, stream_ping_seconds=0.02, max_num_seqs=1, max_num_batched_tokens=16) as server:
        # A prompt of 3,000 steps, so that nothing is sampled for a second, also beside other processes.
        body = {"messages": [user("the " * 50_000)], "stream": True, **BASE}
        answer = server.post(MESSAGES, body).text
    before, _, _ = answer.partition("event: content_block_start")
    assert before.count('event: ping\ndata: {"type":"ping"}\n\n') > 0
    assert ": ping\n" not in answer.replace("event: ping\n", "")


# Hostile bodies.


def many(count: int, block: dict[str, Any]) -> bytes:
    return json.dumps({"messages": [user([block] * count)], "max_tokens": 1}).encode()


def nested(depth: int) -> bytes:
    value = '{"a":' * depth + "1" + "}" * depth
    call = '{"type":"tool_use","id":"a","name":"b","input":' + value + "}"
    return b'{"max_tokens":1,"messages":[{"role":"assistant","content":[' + call.encode() + b"]}]}"


@pytest.mark.parametrize(
    "body",
    [
        many(100_000, text("a")),
        many(100_000, {"type": "image"}),
        many(40_000, {"type": "text"}),
        many(40_000, {"type": "tool_result", "tool_use_id": "a"} | {"content": [{"type": "image"}]}),
        nested(50_000),
        nested(150),
        json.dumps({"messages": [user()] * 3000, "max_tokens": 1}).encode(),
        json.dumps({"messages": [user()], "max_tokens": 1, "system": [{"type": "text"}] * 50_000}).encode(),
    ],
)
def test_a_hostile_body_is_one_400(server: HttpServer, body: bytes) -> None:
    response = server.http.post(MESSAGES, content=body, headers=JSON)
    assert response.status_code == 400, response.text[:200]
    assert len(response.content) < 1000
    assert server.get("/ready").status_code == 200


def test_many_blocks_are_read(server: HttpServer) -> None:
    response = server.http.post(MESSAGES, content=many(40_000, text("a")), headers=JSON)
    assert tokens(response.json()["usage"])[0] > 40_000
