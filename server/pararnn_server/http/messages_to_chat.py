"""Messages of Anthropic's clients as the chat that they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from pararnn_server.errors import BadRequest
from pararnn_server.http.schemas.base import PromptCacheBreakpoint, TextPart
from pararnn_server.http.schemas.chat import ChatRequest, MessageFields
from pararnn_server.http.schemas.generation import StreamOptions
from pararnn_server.http.schemas.message_blocks import (
    Block,
    CacheControl,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from pararnn_server.http.schemas.message_tools import MessageTool, NamedTool, NoTool
from pararnn_server.http.schemas.messages import MessageContext, MessageRequest
from pararnn_server.http.schemas.structured import JsonSchemaForm
from pararnn_server.http.schemas.tools import (
    CalledFunction,
    FunctionDefinition,
    FunctionName,
    FunctionTool,
    MessageToolCall,
    NamedFunction,
    ToolChoice,
)

MOST_MARKS = 4
"""Marks for the cache in a request, as in Anthropic's API."""

_SEPARATOR = "\n\n"
"""Between two messages of one role in a row, which are one turn."""

_FAILED = "Error: "
"""Before the result of a call that failed: templates have no other place for it."""

_POSITION = re.compile(r"messages\..*")
"""Positions of messages in the chat differ, as some are joined or parted."""


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
        response_format=_response_format(body),
        tools=chat_tools(body),
        tool_choice=chat_tool_choice(body),
        parallel_tool_calls=_parallel(body),
        user=None if body.metadata is None else body.metadata.user_id,
    )


def chat_messages(body: MessageContext) -> list[MessageFields]:
    """Return the messages of the chat, the system first. Raises BadRequest."""
    last = len(body.messages) - 1
    if begins_reply(body) and any(isinstance(block, ToolUseBlock) for block in body.messages[last].blocks):
        param = f"messages.{last}.content"
        message = "a message that calls tools cannot be continued: send the results of its calls"
        raise BadRequest(f"{param}: {message}.", param=param)
    messages = list(_joined(_written(body)))
    if body.cache_control is not None:
        # A mark of the whole request is one behind its last block.
        messages[-1]["content"] = [*_parts(messages[-1]), _part("", body.cache_control)]
    _check_marks(messages)
    return messages


def chat_tools(body: MessageContext) -> list[FunctionTool] | None:
    """Return the tools of the chat."""
    return None if body.tools is None else [_tool(tool) for tool in body.tools]


def chat_tool_choice(body: MessageContext) -> ToolChoice | None:
    """Return the choice among the tools."""
    choice = body.tool_choice
    if choice is None:
        return None
    if isinstance(choice, NamedTool):
        name = FunctionName.model_construct(name=choice.name)
        return NamedFunction.model_construct(type="function", function=name)
    if isinstance(choice, NoTool):
        return "none"
    return "required" if choice.type == "any" else "auto"


def begins_reply(body: MessageContext) -> bool:
    """Return True if the last message is the beginning of the reply."""
    return body.messages[-1].role == "assistant"


def without_positions(error: BadRequest) -> BadRequest:
    """Return an error about a message of the chat as one about all messages of the body."""
    if error.param is None or not _POSITION.match(error.param):
        return error
    message = error.message.replace(error.param, "messages", 1)
    return BadRequest(message, param="messages", code=error.code)


def _response_format(body: MessageRequest) -> JsonSchemaForm | None:
    form = None if body.output_config is None else body.output_config.format
    return None if form is None else {"type": "json_schema", "json_schema": {"schema": form["schema"]}}


def _tool(tool: MessageTool) -> FunctionTool:
    function: FunctionDefinition = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.input_schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return FunctionTool.model_construct(type="function", function=function)


def _parallel(body: MessageContext) -> bool | None:
    choice = body.tool_choice
    if choice is None or isinstance(choice, NoTool) or choice.disable_parallel_tool_use is None:
        return None
    return not choice.disable_parallel_tool_use


def _check_marks(messages: Sequence[MessageFields]) -> None:
    count = sum(part.prompt_cache_breakpoint is not None for each in messages for part in _parts(each))
    if count > MOST_MARKS:
        message = f"cache_control: at most {MOST_MARKS} blocks may have it; {count} have."
        raise BadRequest(message, param="cache_control")


def _written(body: MessageContext) -> Iterator[MessageFields]:
    """Yield the messages one by one; the content of each is parts."""
    if system := _texts(body.system):
        yield {"role": "system", "content": system}
    names: dict[str, str] = {}
    for message in body.messages:
        calls = [block for block in message.blocks if isinstance(block, ToolUseBlock)]
        results = [block for block in message.blocks if isinstance(block, ToolResultBlock)]
        names |= {call.id: call.name for call in calls}
        yield from (_result(each, names.get(each.tool_use_id)) for each in results)
        texts = _texts(message.content)
        # Results alone are no turn of the user.
        if texts or not results:
            written: MessageFields = {"role": message.role, "content": texts}
            if calls:
                written["tool_calls"] = [_call(call) for call in calls]
            yield written


def _result(block: ToolResultBlock, name: str | None) -> MessageFields:
    """Return the message of a result. name: of the tool, which Anthropic's results do not repeat."""
    texts = [_part(_FAILED)] if block.is_error else []
    texts += _texts(block.content)
    if block.cache_control is not None:
        texts.append(_part("", block.cache_control))
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": _plain(texts), "name": name}


def _call(block: ToolUseBlock) -> MessageToolCall:
    function = CalledFunction.model_construct(name=block.name, arguments=json.dumps(block.input))
    return MessageToolCall.model_construct(id=block.id, type="function", function=function)


def _joined(messages: Iterable[MessageFields]) -> Iterator[MessageFields]:
    """Join messages of one role in a row: many templates want the roles to alternate."""
    for role, group in groupby(messages, key=itemgetter("role")):
        if role == "tool":
            yield from group
            continue
        parts: list[TextPart] = []
        calls: list[MessageToolCall] = []
        for each in group:
            calls += each.get("tool_calls") or ()
            if texts := _parts(each):
                parts += [_part(_SEPARATOR), *texts] if parts else texts
        joined: MessageFields = {"role": role, "content": _plain(parts)}
        if calls:
            # A message that only calls tools has no text.
            joined |= {"content": joined["content"] or None, "tool_calls": calls}
        yield joined


def _texts(content: str | Sequence[Block] | None) -> list[TextPart]:
    """Return the texts of a message that are not empty, with their marks."""
    if isinstance(content, str | None):
        return [_part(content)] if content else []
    blocks = (block for block in content if isinstance(block, TextBlock))
    return [_part(block.text, block.cache_control) for block in blocks if block.text or block.cache_control]


def _parts(message: MessageFields) -> Sequence[TextPart]:
    content = message.get("content")
    if isinstance(content, str | None):
        return [_part(content)] if content else []
    return content


def _plain(parts: Sequence[TextPart]) -> str | list[TextPart]:
    """Return the text of parts without marks, which a chat reads faster."""
    if any(part.prompt_cache_breakpoint is not None for part in parts):
        return list(parts)
    return "".join(part.text for part in parts)


def _part(text: str, mark: CacheControl | None = None) -> TextPart:
    made = None
    if mark is not None:
        made = PromptCacheBreakpoint.model_construct(mode="explicit", ttl=mark.ttl or "5m")
    return TextPart.model_construct(type="text", text=text, prompt_cache_breakpoint=made)
