"""anthropic-python."""

from typing import Any, Literal

import anthropic
from checks import (
    ANSWER,
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

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
ASKED: Any = [{"role": "user", "content": QUESTION}]
TOOL: Any = {"name": "get_time", "description": "Return the time.", "input_schema": SCHEMA}
COMMON: Any = {"model": MODEL, "max_tokens": 200}


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@check("chat", "messages.create")
@check("Messages", "messages.create")
def chat() -> None:
    reply = client.messages.create(**COMMON, messages=ASKED, system="Be brief.")
    same(text_of(reply), ANSWER)
    same(reply.stop_reason, "end_turn")


@check("streaming", "messages.stream")
@check("Messages", "messages.stream")
def stream() -> None:
    with client.messages.stream(**COMMON, messages=ASKED) as events:
        in_pieces(list(events.text_stream))
        same(text_of(events.get_final_message()), ANSWER)


@check("structured output", "messages.parse(output_format=Clock)")
def parse() -> None:
    is_clock(client.messages.parse(**COMMON, messages=ASKED, output_format=Clock).parsed_output)


def calls_and_answers(first_text: str, **fields: Any) -> None:
    """Take one call, send its result and read the text."""
    first = client.messages.create(**COMMON, messages=ASKED, tools=[TOOL], **fields)
    same(text_of(first), first_text)
    same(first.stop_reason, "tool_use")
    [call] = [block for block in first.content if block.type == "tool_use"]
    same(call.name, "get_time")
    is_clock(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    history: Any = [
        *ASKED,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    same(text_of(client.messages.create(**COMMON, messages=history, tools=[TOOL])), ANSWER)


@check("tools required", "messages.create(tool_choice={'type': 'any'})")
@check("Messages", "messages.create(tool_choice={'type': 'any'})")
def required() -> None:
    calls_and_answers("", tool_choice={"type": "any"})


@check("tool by name", "messages.create(tool_choice={'type': 'tool', ...})")
def named() -> None:
    calls_and_answers("", tool_choice={"type": "tool", "name": "get_time"})


@check("tools auto", "messages.create(tools)")
def auto() -> None:
    calls_and_answers(LOOKING)


@check("tools auto", "messages.stream(tools)")
def auto_streamed() -> None:
    with client.messages.stream(**COMMON, messages=ASKED, tools=[TOOL]) as events:
        pieces = [event.partial_json for event in events if event.type == "input_json"]
        [call] = [block for block in events.get_final_message().content if block.type == "tool_use"]
    is_clock("".join(pieces))
    is_clock(call.input)


@check("tools auto", "beta.messages.tool_runner")
def runner() -> None:
    @anthropic.beta_tool
    def get_time(city: str, utc: bool) -> str:
        """Return the time."""
        assert isinstance(utc, bool), city
        return RESULT

    last = client.beta.messages.tool_runner(**COMMON, messages=ASKED, tools=[get_time]).until_done()
    same(text_of(last), ANSWER)


@check("token counts", "messages.count_tokens")
def count() -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=ASKED, tools=[TOOL]).input_tokens
    usage = client.messages.create(**COMMON, messages=ASKED, tools=[TOOL]).usage
    same(usage.input_tokens + (usage.cache_read_input_tokens or 0), counted)


@check("errors", "BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
def errors() -> None:
    with raises(anthropic.BadRequestError, 400):
        client.messages.create(**COMMON, messages=ASKED, stop_sequences=[""])
    with raises(anthropic.AuthenticationError, 401):
        client.with_options(api_key=WRONG_KEY).messages.create(**COMMON, messages=ASKED)
    with raises(anthropic.NotFoundError, 404):
        client.messages.create(**{**COMMON, "model": "another"}, messages=ASKED)
    limited = client.with_options(base_url=LIMITED_URL)
    with raises(anthropic.RateLimitError, 429):
        beyond_limit(lambda: limited.messages.create(**COMMON, messages=ASKED))


@check("Messages", "models.list(limit=1), models.retrieve")
def models() -> None:
    same([model.id for model in client.models.list(limit=1)], [MODEL])
    same(client.models.retrieve(MODEL).id, MODEL)


run()
