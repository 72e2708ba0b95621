"""Tools of /v1/messages: blocks of calls, whole and streamed, and what the official client makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema
import pytest
from anthropic import Anthropic, beta_tool

from tests.server.http_server import HttpServer
from tests.server.tool_server import ADD, CHAT, GET_TIME, QUESTION

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"


def tool_of(chat_tool: dict[str, Any]) -> dict[str, Any]:
    function = chat_tool["function"]
    described = {"description": function["description"]} if "description" in function else {}
    return {"name": function["name"], **described, "input_schema": function["parameters"]}


TOOLS = [tool_of(GET_TIME), tool_of(ADD)]
SCHEMAS = {tool["name"]: tool["input_schema"] for tool in TOOLS}
ASKED: dict[str, Any] = {"messages": [QUESTION], "tools": TOOLS, "max_tokens": 300}
SCRIPTED = {"temperature": 0}


def ask(server: HttpServer, **fields: Any) -> dict[str, Any]:
    return server.answer(MESSAGES, {**ASKED, **fields})


def events(server: HttpServer, **fields: Any) -> list[dict[str, Any]]:
    answer = server.post(MESSAGES, {**ASKED, **fields, "stream": True})
    assert answer.status_code == 200, answer.text
    return [json.loads(data) for data in re.findall(r"^data: (.*)$", answer.text, re.M)]


def joined(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """The blocks that the events of a stream make together, and the reason of its end."""
    blocks: list[dict[str, Any]] = []
    for event in stream:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]) | {"json": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            if delta["type"] == "text_delta":
                blocks[-1]["text"] += delta["text"]
            else:
                blocks[-1]["json"] += delta["partial_json"]
    for block in blocks:
        text = block.pop("json")
        if block["type"] == "tool_use":
            assert block["input"] == {}
            block["input"] = json.loads(text)
    [end] = [event["delta"] for event in stream if event["type"] == "message_delta"]
    return {"content": without_ids(blocks), **end}


def without_ids(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.items() if name != "id"} for block in blocks]


def essence(answer: dict[str, Any]) -> dict[str, Any]:
    end = {name: answer[name] for name in ("stop_reason", "stop_sequence")}
    return {"content": without_ids(answer["content"]), **end}


def calls_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    for call in calls:
        jsonschema.validate(call["input"], SCHEMAS[call["name"]])
    assert len({call["id"] for call in calls}) == len(calls)
    return calls


def test_a_call_is_a_block_behind_the_text(scripted: HttpServer) -> None:
    answer = ask(scripted, **SCRIPTED)
    assert answer["stop_reason"] == "tool_use"
    text, call = answer["content"]
    assert text == {"type": "text", "text": "Let me look."}
    assert calls_of(answer) == [call]
    chat_tools = {"messages": [QUESTION], "tools": [GET_TIME, ADD], **SCRIPTED}
    [called] = scripted.answer(CHAT, chat_tools)["choices"][0]["message"]["tool_calls"]
    assert (called["function"]["name"], json.loads(called["function"]["arguments"])) == (
        call["name"],
        call["input"],
    )


def test_blocks_of_a_stream_come_one_after_the_other(scripted: HttpServer) -> None:
    stream = events(scripted, **SCRIPTED)
    assert joined(stream) == essence(ask(scripted, **SCRIPTED))
    kinds = [event["type"] for event in stream if event["type"] != "content_block_delta"]
    block = ["content_block_start", "content_block_stop"]
    first = ["message_start", "content_block_start", "ping", "content_block_stop"]
    assert kinds == [*first, *block, "message_delta", "message_stop"]
    pieces = [
        e["delta"]["partial_json"] for e in stream if e.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert len(pieces) > 1


def test_the_result_of_a_call_is_answered_and_the_conversation_is_not_read_again(
    scripted: HttpServer,
) -> None:
    first = ask(scripted, **SCRIPTED)
    [call] = calls_of(first)
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "12:00"}
    talk = [
        QUESTION,
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result]},
    ]
    second = ask(scripted, messages=talk, **SCRIPTED)
    assert essence(second)["content"] == [{"type": "text", "text": "It is noon."}]
    assert second["stop_reason"] == "end_turn"
    length = sum(count for name, count in first["usage"].items())
    assert second["usage"]["cache_read_input_tokens"] >= length - 2


def test_a_session_reads_results_alone(scripted: HttpServer) -> None:
    session_id = scripted.create_session()
    [call] = calls_of(ask(scripted, session_id=session_id, **SCRIPTED))
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "12:00"}
    answer = ask(
        scripted, messages=[{"role": "user", "content": [result]}], session_id=session_id, **SCRIPTED
    )
    assert essence(answer)["content"] == [{"type": "text", "text": "It is noon."}]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "add"}])
@pytest.mark.parametrize("template", ["hermes", "plain"])
def test_any_and_a_named_tool_are_called_whatever_the_weights(
    template: str, choice: dict[str, Any], seed: int, request: pytest.FixtureRequest
) -> None:
    server: HttpServer = request.getfixturevalue(template)
    fields = {"tool_choice": choice, "temperature": 2, "seed": seed, "max_tokens": 1000}
    answer = ask(server, **fields)
    assert answer["stop_reason"] == "tool_use"
    calls = calls_of(answer)
    assert calls == answer["content"] != []
    if "name" in choice:
        assert {call["name"] for call in calls} == {"add"}
    assert joined(events(server, **fields)) == essence(answer)


def test_parallel_calls_may_be_refused(hermes: HttpServer) -> None:
    counts = []
    for parallel in (True, False):
        choice = {"type": "any", "disable_parallel_tool_use": not parallel}
        answers = [
            ask(hermes, tool_choice=choice, temperature=2, seed=seed, max_tokens=2000) for seed in range(6)
        ]
        counts.append([len(calls_of(answer)) for answer in answers])
    assert counts[1] == [1] * 6
    assert max(counts[0]) > 1


def test_no_tool_is_called_where_none_may_be(scripted: HttpServer) -> None:
    answer = ask(scripted, tool_choice={"type": "none"}, **SCRIPTED, stop_sequences=["."])
    assert essence(answer)["content"] == [{"type": "text", "text": "Let me look"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", ".")


def test_a_call_that_is_cut_has_the_part_that_came(scripted: HttpServer) -> None:
    whole = calls_of(ask(scripted, **SCRIPTED))[0]["input"]
    for length in range(4, 200, 3):
        answer = ask(scripted, **SCRIPTED, max_tokens=length)
        if answer["stop_reason"] == "tool_use":
            break
        assert answer["stop_reason"] == "max_tokens"
        cut = [block["input"] for block in answer["content"] if block["type"] == "tool_use"]
        assert all(part.items() <= whole.items() for part in cut)
    assert calls_of(answer)[0]["input"] == whole


@pytest.mark.parametrize("choice", [None, {"type": "any"}, {"type": "none"}])
def test_a_count_has_the_tools_too(hermes: HttpServer, choice: Any) -> None:
    body = {**ASKED, "tool_choice": choice}
    del body["max_tokens"]
    counted = hermes.answer(COUNT, body)["input_tokens"]
    usage = ask(hermes, tool_choice=choice, max_tokens=1)["usage"]
    assert counted == sum(count for name, count in usage.items() if "input" in name)
    assert counted > hermes.answer(COUNT, {"messages": [QUESTION]})["input_tokens"] + 100


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{}]}, "tools.0.name"),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    ({"tools": [{"name": "two words", "input_schema": {}}]}, "tools.0.name"),
    ({"tools": [{"name": "a", "input_schema": {}, "colour": 1}]}, "tools.0.colour"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"name": "a", "input_schema": {"type": "array"}}]}, "tools.0.input_schema.type"),
    (
        {"tools": [{"name": "a", "input_schema": {"not": {}, "type": "object"}, "strict": True}]},
        "tools.0.input_schema",
    ),
    ({"tools": [{"name": "a", "input_schema": {}, "defer_loading": True}]}, "tools.0.defer_loading"),
    ({"tools": [{"name": "a", "input_schema": {}, "input_examples": [{}]}]}, "tools.0.input_examples"),
    ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
    ({"tools": [], "tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
    ({"tools": [{"name": f"t{n}", "input_schema": {}} for n in range(129)]}, "tools"),
    ({"tools": [{"name": "a", "description": "x" * 300_000, "input_schema": {}}]}, "tools"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
def test_a_wrong_tool_is_a_400_that_names_it(hermes: HttpServer, fields: dict[str, Any], param: str) -> None:
    answer = hermes.post(MESSAGES, {**ASKED, **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error"), error
    assert error["details"]["param"] == param
    assert param.rpartition(".")[2] in error["message"]
    assert "function" not in error["message"]


def test_a_template_without_tools_refuses_them(server: HttpServer) -> None:
    call = {"type": "tool_use", "id": "a", "name": "add", "input": {}}
    talk = [QUESTION, {"role": "assistant", "content": [call]}, {"role": "user", "content": "so?"}]
    for path, fields in ((MESSAGES, {"max_tokens": 1}), (COUNT, {})):
        for body, param in (
            ({"messages": [QUESTION], "tools": TOOLS}, "tools"),
            ({"messages": talk}, "messages"),
        ):
            answer = server.post(path, body | fields)
            assert (answer.status_code, answer.json()["error"]["details"]["param"]) == (400, param)


# The official client.


@pytest.fixture
def client(scripted: HttpServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=scripted.url, api_key="none", max_retries=0) as client:
        yield client


def test_the_client_calls_a_tool_and_sends_its_result(client: Anthropic) -> None:
    fields: dict[str, Any] = {"model": "scripted", "max_tokens": 300, "tools": TOOLS, "extra_body": SCRIPTED}
    first = client.messages.create(messages=[QUESTION], **fields)  # type: ignore[list-item]
    with client.messages.stream(messages=[QUESTION], **fields) as stream:  # type: ignore[list-item]
        streamed = stream.get_final_message()
    assert [block.type for block in first.content] == ["text", "tool_use"]
    said = [
        without_ids([block.model_dump(exclude={"parsed_output"}) for block in message.content])
        for message in (first, streamed)
    ]
    assert said[0] == said[1]
    assert first.stop_reason == streamed.stop_reason == "tool_use"
    call = first.content[1]
    assert call.type == "tool_use"
    talk: list[Any] = [
        QUESTION,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "12:00"}]},
    ]
    second = client.messages.create(messages=talk, **fields)
    assert [block.text for block in second.content if block.type == "text"] == ["It is noon."]
    assert second.stop_reason == "end_turn"


def test_the_tool_runner_of_the_client_runs_to_the_end(client: Anthropic) -> None:
    asked: list[tuple[str, bool]] = []

    @beta_tool
    def get_time(city: Literal["Bern", "Oslo"], utc: bool) -> str:
        """Return the time.

        Args:
            city: Where.
            utc: Whether in UTC.
        """
        asked.append((city, utc))
        return "12:00"

    runner = client.beta.messages.tool_runner(
        model="scripted",
        max_tokens=300,
        tools=[get_time],
        messages=[{"role": "user", "content": QUESTION["content"]}],
        extra_body=SCRIPTED,
    )
    final = runner.until_done()
    assert len(asked) == 1
    assert [block.text for block in final.content if block.type == "text"] == ["It is noon."]


def test_a_turn_with_all_kinds_of_blocks_is_answered_once(scripted: HttpServer) -> None:
    mark = {"type": "ephemeral"}
    call = {"type": "tool_use", "id": "a", "name": "add", "input": {"a": 1, "b": None}}
    result = {
        "type": "tool_result",
        "tool_use_id": "a",
        "content": [{"type": "text", "text": "1"}],
        "is_error": True,
    }
    body = {
        **ASKED,
        "system": [{"type": "text", "text": "be brief", "cache_control": mark}],
        "messages": [
            QUESTION,
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, call]},
            {
                "role": "user",
                "content": [result | {"cache_control": mark}, {"type": "text", "text": "well?"}],
            },
        ],
        "tool_choice": {"type": "tool", "name": "get_time", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "ann"},
        "session_id": scripted.create_session(),
        **SCRIPTED,
    }
    headers = {"idempotency-key": "once"}
    first, again = (scripted.post(MESSAGES, body, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.json() == again.json()
    assert [call["name"] for call in calls_of(first.json())] == ["get_time"]
    stream = scripted.post(MESSAGES, body | {"stream": True}, headers=headers).text
    assert first.json()["id"] in stream
