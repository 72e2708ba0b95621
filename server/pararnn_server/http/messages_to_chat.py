"""Messages of Anthropic's clients as the chat that they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

from pararnn_server.errors import BadRequest
from pararnn_server.http.schemas.chat import ChatRequest, MessageFields
from pararnn_server.http.schemas.generation import StreamOptions
from pararnn_server.http.schemas.message_blocks import (
    AskedMessage,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
)
from pararnn_server.http.schemas.messages import MessageContext, MessageRequest
from pararnn_server.http.schemas.tools import CalledFunction, MessageToolCall

_SEPARATOR = "\n\n"
"""Between two messages of one role in a row, which are one turn."""

_FAILED = "Error: "
"""Before the result of a call that failed: templates have no other place for it."""


def chat_of(body: MessageRequest) -> ChatRequest:
    """Return the chat that asks for the same. Raises BadRequest. Its fields have been checked."""
    begins = begins_reply(body)
    # A stream begins with the usage so far.
    options = StreamOptions(continuous_usage_stats=True) if body.stream else None
    return ChatRequest.model_construct(
        model=body.model,
        messages=chat_messages(body),
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=body.stop_sequences,
        stream=body.stream,
        stream_options=options,
        seed=body.seed,
        session_id=body.session_id,
        expected_turn=body.expected_turn,
        cache_salt=body.cache_salt,
        timeout=body.timeout,
        continue_final_message=begins or None,
        add_generation_prompt=False if begins else None,
        user=None if body.metadata is None else body.metadata.user_id,
    )


def chat_messages(body: MessageContext) -> list[MessageFields]:
    """Return the messages of the chat, the system first. Raises BadRequest."""
    if begins_reply(body) and any(isinstance(block, ToolUseBlock) for block in body.messages[-1].blocks):
        param = f"messages.{len(body.messages) - 1}.content"
        message = "a message that calls tools cannot be continued: send the results of its calls"
        raise BadRequest(f"{param}: {message}.", param=param)
    return list(_joined(_written(body)))


def begins_reply(body: MessageContext) -> bool:
    """Return True if the last message is the beginning of the reply."""
    return body.messages[-1].role == "assistant"


def _written(body: MessageContext) -> Iterator[MessageFields]:
    if system := text_of(body.system):
        yield {"role": "system", "content": system}
    names: dict[str, str] = {}
    for message in body.messages:
        calls = [block for block in message.blocks if isinstance(block, ToolUseBlock)]
        names |= {call.id: call.name for call in calls}
        if calls:
            text = text_of(message.content) or None
            yield {"role": message.role, "content": text, "tool_calls": [_call(call) for call in calls]}
        elif any(isinstance(block, ToolResultBlock) for block in message.blocks):
            yield from _results(message, names)
        else:
            yield {"role": message.role, "content": text_of(message.content)}


def _results(message: AskedMessage, names: Mapping[str, str]) -> Iterator[MessageFields]:
    """Yield a message for each result, and one for the text behind them."""
    for block in message.blocks:
        if isinstance(block, ToolResultBlock):
            content = f"{_FAILED if block.is_error else ''}{text_of(block.content)}"
            # Some templates show the name of the tool, which Anthropic's results do not repeat.
            name = names.get(block.tool_use_id)
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": content, "name": name}
    if text := text_of(message.content):
        yield {"role": message.role, "content": text}


def _call(block: ToolUseBlock) -> MessageToolCall:
    function = CalledFunction.model_construct(name=block.name, arguments=json.dumps(block.input))
    return MessageToolCall.model_construct(id=block.id, type="function", function=function)


def _joined(messages: Iterable[MessageFields]) -> Iterator[MessageFields]:
    """Join messages of one role in a row: many templates want the roles to alternate."""
    for role, group in groupby(messages, key=itemgetter("role")):
        first, *others = group
        if role == "tool" or not others:
            yield from (first, *others)
            continue
        texts = [str(each["content"]) for each in (first, *others) if each["content"]]
        joined: MessageFields = {"role": role, "content": _SEPARATOR.join(texts)}
        if calls := [call for each in (first, *others) for call in each.get("tool_calls") or ()]:
            joined["tool_calls"] = calls
        yield joined
