"""The openai client, unmodified, calls tools: chats and responses, streamed and whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.server.tool_server import QUESTION, TOOLS, scripted_server

FLAT: Any = [{"type": "function", **tool["function"]} for tool in TOOLS]
CHAT_TOOLS: Any = TOOLS
ASKED: Any = [QUESTION]


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with (
        scripted_server() as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def test_a_chat_of_two_turns_with_a_call(client: OpenAI) -> None:
    create = client.chat.completions.create
    first = create(model="scripted", messages=ASKED, tools=CHAT_TOOLS, temperature=0).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls
    [call] = first.message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments)["city"]
    result = {"role": "tool", "tool_call_id": call.id, "content": "12:00"}
    # The message is sent back as the client has it, with all its nulls.
    messages: Any = [*ASKED, first.message, result]
    second = create(model="scripted", messages=messages, tools=CHAT_TOOLS, temperature=0)
    assert second.choices[0].message.content == "It is noon."


def test_a_streamed_chat_with_a_call(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=ASKED, tools=CHAT_TOOLS, temperature=0
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    assert final.message.content == "Let me look."
    assert final.message.tool_calls
    assert final.message.tool_calls[0].function.name == "get_time"


class GetTime(BaseModel):
    """Return the time."""

    city: Literal["Bern", "Oslo"]
    utc: bool


def test_arguments_are_parsed_to_the_class_that_was_given(client: OpenAI) -> None:
    tool = pydantic_function_tool(GetTime)
    parsed = client.chat.completions.parse(
        model="scripted",
        messages=ASKED,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "GetTime"}},
        parallel_tool_calls=False,
        temperature=2,
        max_tokens=400,
    )
    assert parsed.choices[0].message.tool_calls
    [call] = parsed.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetTime)


def test_responses_of_two_turns_with_a_call(client: OpenAI) -> None:
    first = client.responses.create(model="scripted", input="What time?", tools=FLAT, temperature=0)
    call = first.output[1]
    assert call.type == "function_call"
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}]
    second = client.responses.create(
        model="scripted", input=output, previous_response_id=first.id, tools=FLAT, temperature=0
    )
    assert second.output_text == "It is noon."
    # The items are sent back as the client has them.
    again: Any = [{"role": "user", "content": "What time?"}, *first.output, *output]
    whole = client.responses.create(model="scripted", input=again, tools=FLAT, temperature=0, store=False)
    assert whole.output_text == "It is noon."
    listed = client.responses.input_items.list(second.id).data
    assert [item.type for item in listed] == [
        "function_call_output",
        "function_call",
        "message",
        "message",
    ]


def test_a_streamed_response_with_a_call(client: OpenAI) -> None:
    with client.responses.stream(model="scripted", input="What time?", tools=FLAT, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    arguments = "".join(
        event.delta for event in events if event.type == "response.function_call_arguments.delta"
    )
    call = final.output[1]
    assert call.type == "function_call"
    assert call.arguments == arguments
    assert [event.type for event in events].count("response.output_item.done") == 2
