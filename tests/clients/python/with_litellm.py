"""LiteLLM: its providers openai and anthropic."""

from typing import Any, Literal

import litellm
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
    URL,
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

OPENAI: Any = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": KEY, "max_retries": 0}
ANTHROPIC: Any = {"model": f"anthropic/{MODEL}", "api_base": URL, "api_key": KEY, "max_retries": 0}
ASKED: Any = [{"role": "user", "content": QUESTION}]
TOOL: Any = {"name": "get_time", "description": "Return the time.", "parameters": SCHEMA}
TOOLS: Any = [{"type": "function", "function": TOOL}]
NAMED: Any = {"type": "function", "function": {"name": "get_time"}}


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


def complete(**fields: Any) -> Any:
    return litellm.completion(**{**OPENAI, "messages": ASKED, **fields})


def calls_and_answers(first_text: str | None, provider: Any = OPENAI, **fields: Any) -> None:
    """Take one call, send its result and read the text."""
    first = complete(**provider, tools=TOOLS, **fields).choices[0].message
    same(first.content or None, first_text)
    [call] = first.tool_calls
    same(call.function.name, "get_time")
    is_clock(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    second = complete(**provider, messages=[*ASKED, first, result], tools=TOOLS)
    same(second.choices[0].message.content, ANSWER)


@check("chat", "completion")
def chat() -> None:
    same(complete().choices[0].message.content, ANSWER)


@check("streaming", "completion(stream=True)")
def stream() -> None:
    in_pieces([chunk.choices[0].delta.content or "" for chunk in complete(stream=True)])


@check("structured output", "completion(response_format=Clock)")
def by_class() -> None:
    is_clock(complete(response_format=Clock).choices[0].message.content)


@check("structured output", "completion(response_format={'type': 'json_object'})")
def json_object() -> None:
    is_clock(complete(response_format={"type": "json_object"}).choices[0].message.content)


@check("tools required", "completion(tool_choice='required')")
def required() -> None:
    calls_and_answers(None, tool_choice="required")


@check("tool by name", "completion(tool_choice={'type': 'function', ...})")
def named() -> None:
    calls_and_answers(None, tool_choice=NAMED)


@check("tools auto", "completion(tools)")
def auto() -> None:
    calls_and_answers(LOOKING)


@check("tools auto", "completion(tools, stream=True), stream_chunk_builder")
def auto_streamed() -> None:
    whole = litellm.stream_chunk_builder(list(complete(tools=TOOLS, stream=True)), messages=ASKED)
    [call] = whole.choices[0].message.tool_calls
    is_clock(call.function.arguments)


@check("Responses", "responses, whole, streamed, with a tool")
def responses() -> None:
    same(litellm.responses(**OPENAI, input=QUESTION).output_text, ANSWER)
    events = litellm.responses(**OPENAI, input=QUESTION, stream=True)
    in_pieces([event.delta for event in events if event.type == "response.output_text.delta"])
    flat: Any = [{"type": "function", **TOOL}]
    first = litellm.responses(**OPENAI, input=QUESTION, tools=flat, tool_choice="required")
    [call] = first.output
    is_clock(call.arguments)
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
    second = litellm.responses(**OPENAI, input=result, tools=flat, previous_response_id=first.id)
    same(second.output_text, ANSWER)


@check("Messages", "completion(model='anthropic/...'), whole, streamed, with tools")
def messages() -> None:
    same(complete(**ANTHROPIC).choices[0].message.content, ANSWER)
    in_pieces([chunk.choices[0].delta.content or "" for chunk in complete(**ANTHROPIC, stream=True)])
    calls_and_answers(None, ANTHROPIC, tool_choice="required")
    calls_and_answers(None, ANTHROPIC, tool_choice=NAMED)
    calls_and_answers(LOOKING, ANTHROPIC)


@check("embeddings", "embedding")
def embed() -> None:
    [vector] = litellm.embedding(**OPENAI, input=["one"]).data
    assert abs(sum(x * x for x in vector["embedding"]) - 1) < 1e-4


@check("token counts", "ModelResponse.usage, whole and streamed")
def usage() -> None:
    whole = complete().usage
    *_, last = complete(stream=True, stream_options={"include_usage": True})
    same(last.usage.prompt_tokens, whole.prompt_tokens)
    same(last.usage.completion_tokens, whole.completion_tokens)


@check("errors", "BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
def errors() -> None:
    for provider in (OPENAI, ANTHROPIC):
        with raises(litellm.BadRequestError, 400):
            complete(**provider, temperature=-1)
        with raises(litellm.AuthenticationError, 401):
            complete(**{**provider, "api_key": WRONG_KEY})
        with raises(litellm.NotFoundError, 404):
            complete(**{**provider, "model": provider["model"].replace(MODEL, "another")})
        limited = {**provider, "api_base": provider["api_base"].replace(URL, LIMITED_URL)}
        with raises(litellm.RateLimitError, 429):
            beyond_limit(lambda given=limited: complete(**given))


run()
