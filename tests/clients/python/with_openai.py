"""openai-python."""

from typing import Any, Literal

import openai
from checks import (
    ANSWER,
    BASE_URL,
    KEY,
    LIMITED_URL,
    LOOKING,
    MODEL,
    QUESTION,
    RESULT,
    SCHEMA,
    WRONG_KEY,
    beyond_limit,
    check,
    in_pieces,
    is_clock,
    raises,
    run,
    same,
)
from pydantic import BaseModel

client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
ASKED: Any = [{"role": "user", "content": QUESTION}]
TOOL: Any = {"name": "get_time", "description": "Return the time.", "parameters": SCHEMA}
TOOLS: Any = [{"type": "function", "function": TOOL}]
FLAT: Any = [{"type": "function", **TOOL}]


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


@check("chat", "chat.completions.create")
def chat() -> None:
    reply = client.chat.completions.create(model=MODEL, messages=ASKED)
    same(reply.choices[0].message.content, ANSWER)
    same(reply.choices[0].finish_reason, "stop")


@check("streaming", "chat.completions.create(stream=True)")
def stream() -> None:
    chunks = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    in_pieces([chunk.choices[0].delta.content or "" for chunk in chunks])


@check("streaming", "chat.completions.stream")
def stream_helper() -> None:
    with client.chat.completions.stream(model=MODEL, messages=ASKED) as events:
        in_pieces([event.delta for event in events if event.type == "content.delta"])
        same(events.get_final_completion().choices[0].message.content, ANSWER)


@check("structured output", "chat.completions.parse(response_format=Clock)")
def parse() -> None:
    reply = client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Clock)
    is_clock(reply.choices[0].message.parsed)


@check("structured output", "chat.completions.create(response_format={'type': 'json_object'})")
def json_object() -> None:
    reply = client.chat.completions.create(
        model=MODEL, messages=ASKED, response_format={"type": "json_object"}
    )
    is_clock(reply.choices[0].message.content)


def calls_and_answers(first_text: str | None, **fields: Any) -> None:
    """Take one call, send its result and read the text."""
    first = client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS, **fields).choices[0]
    same(first.message.content, first_text)
    [call] = first.message.tool_calls or []
    assert call.type == "function"
    same(call.function.name, "get_time")
    is_clock(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    second = client.chat.completions.create(
        model=MODEL, messages=[*ASKED, first.message, result], tools=TOOLS
    )
    same(second.choices[0].message.content, ANSWER)


@check("tools required", "chat.completions.create(tool_choice='required')")
def required() -> None:
    calls_and_answers(None, tool_choice="required")


@check("tool by name", "chat.completions.create(tool_choice={'type': 'function', ...})")
def named() -> None:
    calls_and_answers(None, tool_choice={"type": "function", "function": {"name": "get_time"}})


@check("tool by name", "chat.completions.parse(tools=[pydantic_function_tool(Clock)])")
def named_and_parsed() -> None:
    reply = client.chat.completions.parse(
        model=MODEL,
        messages=ASKED,
        tools=[openai.pydantic_function_tool(Clock)],
        tool_choice={"type": "function", "function": {"name": "Clock"}},
    )
    [call] = reply.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Clock)


@check("tools auto", "chat.completions.create(tools)")
def auto() -> None:
    calls_and_answers(LOOKING)


@check("tools auto", "chat.completions.stream(tools)")
def auto_streamed() -> None:
    with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=TOOLS) as events:
        deltas = [
            event.arguments_delta for event in events if event.type == "tool_calls.function.arguments.delta"
        ]
        [call] = events.get_final_completion().choices[0].message.tool_calls or []
    same("".join(deltas), call.function.arguments)
    is_clock(call.function.arguments)


@check("Responses", "responses.create, and again with previous_response_id")
def response() -> None:
    first = client.responses.create(model=MODEL, input=QUESTION)
    same(first.output_text, ANSWER)
    second = client.responses.create(model=MODEL, input=QUESTION, previous_response_id=first.id)
    same(second.output_text, ANSWER)
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0
    same(client.responses.retrieve(first.id).output_text, ANSWER)
    client.responses.delete(first.id)


@check("Responses", "responses.stream")
def response_streamed() -> None:
    with client.responses.stream(model=MODEL, input=QUESTION) as events:
        in_pieces([event.delta for event in events if event.type == "response.output_text.delta"])
        same(events.get_final_response().output_text, ANSWER)


@check("Responses", "responses.parse(text_format=Clock)")
def response_parsed() -> None:
    is_clock(client.responses.parse(model=MODEL, input=QUESTION, text_format=Clock).output_parsed)


@check("Responses", "responses.create(tools, tool_choice='required')")
def response_with_tools() -> None:
    first = client.responses.create(model=MODEL, input=QUESTION, tools=FLAT, tool_choice="required")
    [call] = first.output
    assert call.type == "function_call"
    is_clock(call.arguments)
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
    second = client.responses.create(model=MODEL, input=result, previous_response_id=first.id, tools=FLAT)
    same(second.output_text, ANSWER)
    whole: Any = [*ASKED, *first.output, *result]
    same(client.responses.create(model=MODEL, input=whole, tools=FLAT, store=False).output_text, ANSWER)


@check("embeddings", "embeddings.create")
def embed() -> None:
    vectors = client.embeddings.create(model=MODEL, input=["one", "two"]).data
    same(len(vectors), 2)
    assert abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-4


@check("token counts", "responses.input_tokens.count")
def count() -> None:
    counted = client.responses.input_tokens.count(model=MODEL, input=QUESTION).input_tokens
    usage = client.responses.create(model=MODEL, input=QUESTION).usage
    assert usage is not None
    same(counted, usage.input_tokens)


@check("token counts", "chat.completions.create(stream_options={'include_usage': True})")
def usage_of_a_stream() -> None:
    chunks = client.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    *_, last = chunks
    assert last.usage is not None
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


@check("errors", "BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
def errors() -> None:
    create = client.chat.completions.create
    with raises(openai.BadRequestError, 400):
        create(model=MODEL, messages=ASKED, temperature=-1)
    with raises(openai.AuthenticationError, 401):
        client.with_options(api_key=WRONG_KEY).chat.completions.create(model=MODEL, messages=ASKED)
    with raises(openai.NotFoundError, 404):
        create(model="another", messages=ASKED)
    limited = client.with_options(base_url=f"{LIMITED_URL}/v1").chat.completions
    with raises(openai.RateLimitError, 429):
        beyond_limit(lambda: limited.create(model=MODEL, messages=ASKED))


run()
