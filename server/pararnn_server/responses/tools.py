"""Tools and items of responses to those that templates, grammars and parsers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pararnn_server.http.chat_fields import check_values, parsed_arguments, tool_rules
from pararnn_server.http.schemas.response_items import AnyItem, CallItem, Item
from pararnn_server.http.schemas.response_tools import FlatAllowedTools, FlatToolFields
from pararnn_server.text.conversation import Message, message, tool_call, tool_result
from pararnn_server.tools.tool import Tool, ToolMode, ToolUse


def tool_use_of(body: FlatToolFields, max_bytes: int) -> ToolUse:
    """Return the rules of a request. Raises BadRequest, also for tools of more than `max_bytes`."""
    tools = [
        Tool({name: value for name, value in each.items() if name != "type"}) for each in body.tools or ()
    ]
    mode, names = _choice_of(body)
    parallel = body.parallel_tool_calls is not False
    return tool_rules(tools, mode, names, parallel=parallel, max_bytes=max_bytes, place="")


def given_tools(body: FlatToolFields) -> dict[str, Any]:
    """Return the fields of a response that say which tools its request gave."""
    choice = body.tool_choice
    if choice is None:
        choice = "auto" if body.tools else "none"
    return {
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
        "tools": [dict(tool) for tool in body.tools or ()],
    }


def has_same_tools(tools: Sequence[Mapping[str, Any]] | None, previous: Mapping[str, Any]) -> bool:
    """Return True if a response was made with the same tools, so that its state has read them."""
    return [dict(tool) for tool in tools or ()] == list(previous["tools"])


def messages_of(max_values: int, *parts: Sequence[AnyItem]) -> list[Message]:
    """Return the messages of items. Calls join the reply that they follow. Raises BadRequest.

    max_values: as in `check_values`.
    """
    calls = [item.arguments for part in parts for item in part if isinstance(item, CallItem)]
    check_values(calls, max_values, "input")
    messages: list[Message] = []
    for part in parts:
        for position, item in enumerate(part):
            if isinstance(item, Item):
                messages.append(message(item.role, item.text))
            elif isinstance(item, CallItem):
                # Parts before the last are stored conversations, whose calls may have been cut.
                place = f"input.{position}.arguments" if part is parts[-1] else "previous_response_id"
                _add_call(messages, item, place)
            else:
                messages.append(tool_result(item.call_id, item.output))
    return messages


def _add_call(messages: list[Message], item: CallItem, param: str) -> None:
    call = tool_call(item.call_id, item.name, parsed_arguments(item.arguments, param))
    if messages and messages[-1]["role"] == "assistant":
        last = messages[-1]
        messages[-1] = message("assistant", last["content"], tool_calls=[*last.get("tool_calls", ()), call])
    else:
        messages.append(message("assistant", None, tool_calls=[call]))


def _choice_of(body: FlatToolFields) -> tuple[ToolMode | None, list[str] | None]:
    choice = body.tool_choice
    if choice is None or isinstance(choice, str):
        return choice, None
    if isinstance(choice, FlatAllowedTools):
        return choice.mode, [each.name for each in choice.tools]
    return "required", [choice.name]
