"""Tools of responses: calls are items, their outputs are input, and a state goes through both."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pararnn_server.http.schemas.response_answers import InputItemList, ModelResponse, ResponseEvent

from tests.server.http_server import HttpServer
from tests.server.tool_server import TOOLS

PATH = "/v1/responses"
FLAT = [{"type": "function", **tool["function"]} for tool in TOOLS]
SCHEMAS = {tool["name"]: tool["parameters"] for tool in FLAT}
ASKED: dict[str, Any] = {"input": "What time is it in Bern?", "tools": FLAT}
NAMED = {"type": "function", "name": "add"}


def ask(server: HttpServer, **fields: Any) -> dict[str, Any]:
    response = server.answer(PATH, {**ASKED, **fields})
    ModelResponse.model_validate_json(json.dumps(response))
    return response


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    found = [json.loads(line) for line in lines]
    for line in lines:
        ResponseEvent.model_validate_json(line)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def joined(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of a stream, as a client that follows its events puts them together."""
    items: list[dict[str, Any]] = []
    for event in found:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == len(items)
            assert event["item"]["status"] == "in_progress"
            items.append({**event["item"], "text": ""})
        elif kind in ("response.output_text.delta", "response.function_call_arguments.delta"):
            assert event["item_id"] == items[-1]["id"]
            items[-1]["text"] += event["delta"]
        elif kind == "response.function_call_arguments.done":
            assert event["arguments"] == items[-1]["text"]
        elif kind == "response.output_item.done":
            text = items.pop()["text"]
            item = event["item"]
            assert text == (item["arguments"] if "arguments" in item else item["content"][0]["text"])
            items.append(item)
    return items


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name not in ("id", "call_id")} for item in items]


def test_a_reply_is_a_message_and_a_call(scripted: HttpServer) -> None:
    response = ask(scripted, temperature=0)
    said, call = response["output"]
    assert said["content"][0]["text"] == "Let me look."
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_time", "completed")
    assert call["id"].startswith("fc_")
    assert call["call_id"].startswith("call_")
    jsonschema.validate(json.loads(call["arguments"]), SCHEMAS["get_time"])
    assert (response["status"], response["tools"], response["tool_choice"]) == ("completed", FLAT, "auto")
    streamed = scripted.post(PATH, {**ASKED, "temperature": 0, "stream": True}).text
    found = events(streamed)
    assert without_ids(joined(found)) == without_ids(response["output"])
    assert found[-1]["response"]["output"] == joined(found)


def test_an_output_alone_resumes_the_state_of_the_call(scripted: HttpServer) -> None:
    first = ask(scripted, temperature=0)
    call = first["output"][1]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "12:00"}
    second = ask(scripted, temperature=0, input=[output], previous_response_id=first["id"])
    assert second["output"][0]["content"][0]["text"] == "It is noon."
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["total_tokens"] - 2
    listed = scripted.get(f"{PATH}/{second['id']}/input_items?order=asc").json()
    InputItemList.model_validate_json(json.dumps(listed))
    listed = listed["data"]
    assert [item["type"] for item in listed] == [
        "message",
        "message",
        "function_call",
        "function_call_output",
    ]
    assert listed[3]["output"] == "12:00"
    assert scripted.get(f"{PATH}/{first['id']}").json() == first
    replayed = events(scripted.get(f"{PATH}/{first['id']}?stream=true").text)
    assert joined(replayed) == first["output"]


def test_the_conversation_sent_whole_is_that_of_the_state(scripted: HttpServer) -> None:
    first = ask(scripted, temperature=0, store=False)
    said, call = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": [
        {"type": "input_text", "text": "12"}, {"type": "input_text", "text": ":00"},
    ]}  # fmt: skip
    question = {"role": "user", "content": ASKED["input"]}
    second = ask(scripted, temperature=0, input=[question, said, call, output])
    assert second["output"][0]["content"][0]["text"] == "It is noon."


def test_items_of_calls_can_be_named(scripted: HttpServer) -> None:
    first = ask(scripted, temperature=0)
    said, call = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "12:00"}
    names = [{"type": "item_reference", "id": item["id"]} for item in (said, call)]
    spelled = [{"role": "user", "content": ASKED["input"]}, said, call, output]
    named = [spelled[0], *names, output]
    answers = [ask(scripted, temperature=0, input=items) for items in (spelled, named)]
    assert answers[0]["usage"]["input_tokens"] == answers[1]["usage"]["input_tokens"]


def test_other_tools_are_read_anew_with_the_conversation(scripted: HttpServer) -> None:
    first = ask(scripted, temperature=0)
    output = {
        "type": "function_call_output",
        "call_id": first["output"][1]["call_id"],
        "output": "12:00",
    }
    again = {"temperature": 0, "input": [output], "previous_response_id": first["id"]}
    second = ask(scripted, **again, tools=FLAT[:1])
    assert second["output"][0]["content"][0]["text"] == "It is noon."
    assert second["usage"]["input_tokens_details"]["cached_tokens"] < first["usage"]["input_tokens"]
    assert second["usage"]["input_tokens"] < ask(scripted, **again)["usage"]["input_tokens"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "tool_choice",
    ["required", NAMED, {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}],
    ids=["required", "named", "allowed"],
)
def test_calls_are_well_formed_whatever_the_weights(hermes: HttpServer, tool_choice: Any, seed: int) -> None:
    fields = {"tool_choice": tool_choice, "temperature": 2, "seed": seed, "max_output_tokens": 1000}
    response = ask(hermes, **fields)
    assert response["status"] == "completed"
    assert response["tool_choice"] == tool_choice
    for item in response["output"]:
        assert item["type"] == "function_call"
        assert tool_choice == "required" or item["name"] == "add"
        jsonschema.validate(json.loads(item["arguments"]), SCHEMAS[item["name"]])
    ids = [item["call_id"] for item in response["output"]]
    assert len(set(ids)) == len(ids)
    streamed = hermes.post(PATH, {**ASKED, **fields, "stream": True}).text
    assert without_ids(joined(events(streamed))) == without_ids(response["output"])


def test_one_call_at_most_without_parallel_calls(hermes: HttpServer) -> None:
    for seed in range(4):
        fields = {"tool_choice": "required", "temperature": 2, "parallel_tool_calls": False}
        response = ask(hermes, seed=seed, max_output_tokens=1000, **fields)
        assert len(response["output"]) == 1
        assert response["parallel_tool_calls"] is False


def test_a_call_that_is_cut_is_incomplete(hermes: HttpServer) -> None:
    response = ask(hermes, tool_choice=NAMED, temperature=0, max_output_tokens=44)
    [call] = response["output"]
    assert (response["status"], call["status"]) == ("incomplete", "incomplete")
    assert not call["arguments"].endswith("}")


def test_a_key_repeats_the_calls_and_input_tokens_counts_the_tools(hermes: HttpServer) -> None:
    body = {**ASKED, "tool_choice": "required", "temperature": 2, "max_output_tokens": 1000}
    first, again = (hermes.post(PATH, body, headers={"idempotency-key": "k"}).json() for _ in range(2))
    assert again == first
    counted = hermes.answer(f"{PATH}/input_tokens", ASKED)["input_tokens"]
    assert counted == first["usage"]["input_tokens"]
    assert counted > hermes.answer(f"{PATH}/input_tokens", {"input": ASKED["input"]})["input_tokens"]
