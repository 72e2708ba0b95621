"""Tools of chats: calls are well formed, streamed as they come, and part of the conversation that follows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pararnn_server.http.schemas.chat import ChatChunk, ChatResponse

from tests.fixtures import CHAT_TEMPLATE
from tests.server.http_server import HttpServer
from tests.server.text.tool_templates import ARGUMENTS_AS_TEXT, HERMES
from tests.server.tool_server import (
    ADD,
    CHAT,
    GET_TIME,
    QUESTION,
    TOOLS,
    random_server,
)

ASKED: dict[str, Any] = {"messages": [QUESTION], "tools": TOOLS}
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
NAMED = {"type": "function", "function": {"name": "add"}}


def choice(server: HttpServer, **fields: Any) -> dict[str, Any]:
    answer = server.answer(CHAT, {**ASKED, **fields})
    ChatResponse.model_validate_json(json.dumps(answer))
    found: dict[str, Any] = answer["choices"][0]
    return found


def streamed(server: HttpServer, **fields: Any) -> dict[str, Any]:
    """The choice that the chunks of a stream make together, as a client joins them."""
    content, calls, reason = "", [], None
    for event in server.events(CHAT, {**ASKED, **fields}):
        ChatChunk.model_validate_json(json.dumps(event))
        [part] = event["choices"]
        delta, reason = part["delta"], part["finish_reason"]
        content += delta.get("content") or ""
        for call in delta.get("tool_calls", []):
            if call["index"] == len(calls):
                assert call["function"]["arguments"] == ""
                calls.append({name: value for name, value in call.items() if name != "index"})
            else:
                assert call.keys() == {"index", "function"}
                assert call["index"] == len(calls) - 1
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    message: dict[str, Any] = {"role": "assistant", "content": content or None, "refusal": None}
    return {"message": message | ({"tool_calls": calls} if calls else {}), "finish_reason": reason}


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    message = dict(answer["message"])
    if "tool_calls" in message:
        message["tool_calls"] = [{**call, "id": "id"} for call in message["tool_calls"]]
    return {"message": message, "finish_reason": answer["finish_reason"]}


def check_calls(message: dict[str, Any]) -> None:
    for call in message["tool_calls"]:
        function = call["function"]
        jsonschema.validate(json.loads(function["arguments"]), SCHEMAS[function["name"]])
    ids = [call["id"] for call in message["tool_calls"]]
    assert len(set(ids)) == len(ids)


def test_auto_is_text_and_then_a_call_once_the_model_opens_one(scripted: HttpServer) -> None:
    answer = choice(scripted, temperature=0)
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] == "Let me look."
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "get_time"
    assert call["id"].startswith("call_")
    check_calls(answer["message"])
    assert without_ids(streamed(scripted, temperature=0)) == without_ids(answer)


def test_the_result_of_a_call_is_answered_and_the_conversation_is_not_read_again(
    scripted: HttpServer,
) -> None:
    first = scripted.answer(CHAT, {**ASKED, "temperature": 0})
    message = first["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "12:00"}
    second = scripted.answer(CHAT, {**ASKED, "temperature": 0, "messages": [QUESTION, message, result]})
    assert second["choices"][0]["message"]["content"] == "It is noon."
    assert second["choices"][0]["finish_reason"] == "stop"
    read = first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"] - 2
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= read


def test_a_session_holds_calls_and_results(scripted: HttpServer) -> None:
    session = scripted.create_session()
    body = {**ASKED, "temperature": 0, "session_id": session}
    first = scripted.post(CHAT, body, headers={"idempotency-key": "one"}).json()
    again = scripted.post(CHAT, body, headers={"idempotency-key": "one"}).json()
    assert again["choices"] == first["choices"]
    message = first["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "12:00"}
    second = scripted.answer(CHAT, {**body, "messages": [result]})
    assert second["choices"][0]["message"]["content"] == "It is noon."
    whole = scripted.answer(CHAT, {**ASKED, "messages": [QUESTION, message, result], "temperature": 0})
    # The state is that of the tokens, so the space before the call is there too.
    assert second["session"]["num_tokens"] >= whole["usage"]["prompt_tokens"]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_session_calls_the_tools_that_it_has_read_and_no_others(store: str, tmp_path: Path) -> None:
    with random_server(HERMES, store=store, data_dir=tmp_path) as server:
        body = {**ASKED, "max_tokens": 2}

        def refused(session: str, **fields: Any) -> bool:
            answer = server.post(CHAT, {**body, "session_id": session, **fields})
            if answer.status_code == 200:
                return False
            assert "has not read them" in answer.json()["error"]["message"]
            return True

        session = server.create_session()
        assert not refused(session)
        assert not refused(session)
        assert refused(session, tools=[ADD])
        assert not refused(session, tools=[ADD], tool_choice="none")
        assert not refused(session, tools=None)
        fork = server.answer(f"/v1/sessions/{session}/fork", {})["id"]
        assert refused(fork, tools=[ADD])
        assert not refused(fork)
        server.answer(f"/v1/sessions/{fork}/rollback", {"turns": 1})
        assert not refused(fork)
        assert refused(server.create_session(text="the"))
        plain = server.create_session()
        assert not refused(plain, tools=None)
        assert refused(plain)
        emptied = server.create_session()
        assert not refused(emptied)
        server.answer(f"/v1/sessions/{emptied}/rollback", {"turns": 1})
        assert not refused(emptied, tools=None)
        assert refused(emptied)


def test_a_session_file_names_the_tools_that_were_read() -> None:
    binary = {"content-type": "application/octet-stream"}
    with random_server(HERMES) as server:
        body = {**ASKED, "max_tokens": 2}

        def status(session: str, **fields: Any) -> int:
            return server.post(CHAT, {**body, "session_id": session, **fields}).status_code

        def exported(session: str) -> bytes:
            return server.get(f"/v1/sessions/{session}/state").content

        with_tools, without = server.create_session(), server.create_session()
        assert status(with_tools) == status(without, tools=None) == 200
        file, plain = exported(with_tools), exported(without)
        answer = server.http.post("/v1/sessions", content=file, headers=binary)
        copy = answer.json()["id"]
        assert status(copy, tools=[ADD]) == 400
        assert status(copy) == 200
        # The state of another session replaces what was read.
        for content, expected in ((plain, 400), (file, 200)):
            put = server.http.put(f"/v1/sessions/{copy}/state", content=content, headers=binary)
            assert put.status_code == 200
            assert status(copy) == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tool_choice", ["required", NAMED])
@pytest.mark.parametrize("template", ["hermes", "plain"])
def test_required_and_named_are_well_formed_calls_whatever_the_weights(
    template: str, tool_choice: Any, seed: int, request: pytest.FixtureRequest
) -> None:
    server: HttpServer = request.getfixturevalue(template)
    fields = {"tool_choice": tool_choice, "temperature": 2, "seed": seed, "max_tokens": 1000}
    answer = choice(server, **fields)
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    check_calls(answer["message"])
    if tool_choice == NAMED:
        assert {call["function"]["name"] for call in answer["message"]["tool_calls"]} == {"add"}
    if template == "plain":
        assert len(answer["message"]["tool_calls"]) == 1
    assert without_ids(streamed(server, **fields)) == without_ids(answer)


def test_only_allowed_tools_are_called(hermes: HttpServer) -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    for seed in range(3):
        answer = choice(hermes, tool_choice=allowed, temperature=2, seed=seed, max_tokens=400)
        assert {call["function"]["name"] for call in answer["message"]["tool_calls"]} == {"add"}


def test_one_call_at_most_without_parallel_calls(hermes: HttpServer) -> None:
    fields = {"tool_choice": "required", "temperature": 2, "max_tokens": 1000}
    counts = {True: 0, False: 0}
    for seed in range(4):
        for parallel in counts:
            answer = choice(hermes, parallel_tool_calls=parallel, seed=seed, **fields)
            counts[parallel] += len(answer["message"]["tool_calls"])
    assert counts[False] == 4
    assert counts[True] > 4


def test_none_shows_the_tools_and_calls_none(scripted: HttpServer) -> None:
    with_tools = scripted.answer(CHAT, {**ASKED, "tool_choice": "none", "temperature": 0, "max_tokens": 8})
    [answer] = with_tools["choices"]
    assert answer["message"]["content"].startswith("Let me look.")
    assert "tool_calls" not in answer["message"]
    assert "<tool_call>" not in answer["message"]["content"]
    without = scripted.answer(CHAT, {"messages": [QUESTION], "max_tokens": 1})
    assert with_tools["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]


@pytest.mark.parametrize("end", [{"max_tokens": 44}, {"stop": ['"b']}])
def test_a_call_that_is_cut_ends_for_its_length_with_the_part_that_came(
    hermes: HttpServer, end: dict[str, Any]
) -> None:
    fields = {"tool_choice": NAMED, "temperature": 0, "max_tokens": 400, **end}
    answer = choice(hermes, **fields)
    assert answer["finish_reason"] == "length"
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "add"
    assert '{"a": '.startswith(call["function"]["arguments"][:6])
    assert not call["function"]["arguments"].endswith("}")
    assert without_ids(streamed(hermes, **fields)) == without_ids(answer)


def test_choices_have_calls_of_their_own(hermes: HttpServer) -> None:
    fields = {"tool_choice": "required", "temperature": 2, "n": 3, "max_tokens": 400, "seed": 5}
    choices = hermes.answer(CHAT, {**ASKED, **fields})["choices"]
    ids = [call["id"] for each in choices for call in each["message"]["tool_calls"]]
    assert len(set(ids)) == len(ids) >= 3


def test_log_probabilities_and_usage_cover_the_tokens_of_calls(hermes: HttpServer) -> None:
    fields = {"tool_choice": NAMED, "temperature": 0, "max_tokens": 400, "logprobs": True}
    answer = hermes.answer(CHAT, {**ASKED, **fields})
    entries = answer["choices"][0]["logprobs"]["content"]
    assert answer["usage"]["completion_tokens"] - len(entries) in (0, 1)
    events = hermes.events(CHAT, {**ASKED, **fields, "stream_options": {"continuous_usage_stats": True}})
    parts = [part for event in events for part in event["choices"] if part["logprobs"]]
    assert [entry for part in parts for entry in part["logprobs"]["content"]] == entries
    assert all("usage" in event for event in events)


JSON_REPLY = {
    "type": "json_schema",
    "json_schema": {
        "name": "reply",
        "schema": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
            "additionalProperties": False,
        },
    },
}


def test_a_reply_has_the_format_or_calls_a_tool(scripted: HttpServer, plain: HttpServer) -> None:
    fields = {"response_format": JSON_REPLY, "temperature": 1.5, "max_tokens": 400}
    kinds = set()
    for seed in range(8):
        message = choice(scripted, seed=seed, **fields)["message"]
        kinds.add("tool_calls" in message)
        if "tool_calls" in message:
            assert message["content"] is None
            check_calls(message)
        else:
            assert json.loads(message["content"])["ok"] in (True, False)
    assert kinds == {True, False}
    assert json.loads(choice(scripted, tool_choice="none", **fields)["message"]["content"])
    for body, param in (
        ({"response_format": JSON_REPLY}, "response_format.json_schema.schema"),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
    ):
        error = plain.post(CHAT, {**ASKED, **body}).json()["error"]
        assert error["param"] == param
        assert "tools" in error["message"]
    check_calls(choice(plain, tool_choice=NAMED, **fields)["message"])


BAD_TOOLS: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [{"type": "web_search"}]}, "tools.0.type", "only tools of type function"),
    ({"tools": [{"type": "function"}]}, "tools.0.function", "missing"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "pattern"),
    ({"tools": [{"type": "function", "function": {"name": "a", "x": 1}}]}, "tools.0.function.x", "Unknown"),
    ({"tools": [ADD, ADD]}, "tools", "same name"),
    ({"tools": [ADD] * 5}, "tools", "at most 4"),
    ({"tools": [{**ADD, "function": {"name": "a", "description": "x" * 5000}}]}, "tools", "4096 bytes"),
    ({"tools": [{**ADD, "function": {"name": "a", "parameters": {"type": "array"}}}]}, "tools.0.function.parameters.type", "object"),  # noqa: E501  # one case a line
    ({"tools": None, "tool_choice": "required"}, "tool_choice", "no tools to call"),
    ({"tools": [], "tool_choice": NAMED}, "tool_choice", "no tools to call"),
    ({"tools": [GET_TIME], "tool_choice": NAMED}, "tool_choice", "none of the tools"),
    ({"tool_choice": "any"}, "tool_choice", "required"),
    ({"tool_choice": {"type": "function", "name": "add"}}, "tool_choice.name", "Unknown"),
    ({"functions": [{"name": "f"}]}, "functions", "tools and tool_choice"),
]  # fmt: skip


@pytest.fixture(scope="module")
def limited() -> Iterator[HttpServer]:
    with random_server(HERMES, max_tools=4, max_tools_bytes=4096) as server:
        yield server


@pytest.mark.parametrize(("fields", "param", "words"), BAD_TOOLS)
def test_wrong_tools_are_refused_for_what_is_wrong(
    limited: HttpServer, fields: dict[str, Any], param: str, words: str
) -> None:
    refused = limited.post(CHAT, {**ASKED, **fields})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, param)
    assert words in error["message"]


def test_a_schema_that_cannot_be_enforced_is_refused_only_if_strict(hermes: HttpServer) -> None:
    parameters = {"type": "object", "properties": {"a": {"not": {"type": "null"}}}}
    for strict in (True, False, None):
        odd = {"type": "function", "function": {"name": "odd", "parameters": parameters, "strict": strict}}
        body = {**ASKED, "tools": [GET_TIME, odd], "tool_choice": "required", "max_tokens": 4}
        answer = hermes.post(CHAT, body)
        if strict:
            assert answer.status_code == 400
            assert answer.json()["error"]["param"].startswith("tools.1.function.parameters")
        else:
            assert answer.status_code == 200, answer.text


HOSTILE = {"allOf": [{"not": {}}] * 10_000}


def called(arguments: str) -> list[dict[str, Any]]:
    call = {"id": "a", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return [QUESTION, {"role": "assistant", "tool_calls": [call]}]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": called('{"a": [' + "[]," * 100_000 + "1]}")},
        {"messages": called("{}")[:1] + called('{"a":' * 5000)[1:]},
        {"messages": called('{"a": "\\')},
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": HOSTILE}}]},
        {"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(129)]},
        {"messages": [QUESTION] + called("{}")[1:] * 3000},
    ],
    ids=["values", "depth", "cut", "schema", "tools", "messages"],
)
def test_hostile_tools_and_calls_cost_little(body: dict[str, Any]) -> None:
    with random_server(HERMES, max_body_values=1_000_000) as server:
        began = time.process_time()
        refused = server.post(CHAT, {**ASKED, **body})
        # The client's share of it is a few hundred kilobytes of JSON.
        assert time.process_time() - began < 5
        assert refused.status_code == 400, refused.text
        assert server.chat("still there?", max_tokens=1)["choices"]


def test_a_deep_schema_is_refused_or_read_in_bounded_time(hermes: HttpServer) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(90):
        schema = {"type": "object", "properties": {"a": schema}}
    tool = {"type": "function", "function": {"name": "deep", "parameters": schema}}
    answer = hermes.post(CHAT, {**ASKED, "tools": [tool], "tool_choice": "required", "max_tokens": 2})
    assert answer.status_code == 200, answer.text


def test_a_model_that_shows_no_tools_refuses_them_unless_none_may_be_called() -> None:
    with random_server(CHAT_TEMPLATE) as server:
        refused = server.post(CHAT, ASKED).json()["error"]
        assert refused["param"] == "tools"
        assert "does not show tools" in refused["message"]
        answer = server.answer(CHAT, {**ASKED, "tool_choice": "none", "max_tokens": 1})
        plain = server.answer(CHAT, {"messages": [QUESTION], "max_tokens": 1})
        assert answer["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_a_format_that_is_not_known_can_be_named() -> None:
    with random_server(ARGUMENTS_AS_TEXT) as server:
        assert "--tool-format" in server.post(CHAT, ASKED).json()["error"]["message"]
    with random_server(ARGUMENTS_AS_TEXT, tool_format="json") as server:
        answer = choice(server, tool_choice="required", temperature=2, max_tokens=400)
        check_calls(answer["message"])
