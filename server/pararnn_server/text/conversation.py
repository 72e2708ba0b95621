"""Conversations in the form that chat templates take, whatever the wire that they came by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from pararnn_server.tools.tool import Tool

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})


class CalledFunction(TypedDict):
    """Name and arguments of a call. The arguments are an object; a template may need them as text."""

    name: str
    arguments: dict[str, Any] | str


class ToolCall(TypedDict):
    """A call of a tool that the assistant made. id: named by the message with its result."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Message(TypedDict):
    """role: system, user, assistant or tool. content None: the assistant only called tools.

    name: its author, where the client gave one. tool_calls: of an assistant. tool_call_id: of a tool.
    """

    role: str
    content: str | None
    name: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Input of a template: messages, the tools that the model is shown, and variables of the request."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    variables: Mapping[str, Any] = field(default_factory=lambda: NO_VARIABLES)


def message(
    role: str, content: str | None, name: str | None = None, tool_calls: Sequence[ToolCall] = ()
) -> Message:
    """Turn a developer into the system: templates do not know the role."""
    known: Message = {"role": "system" if role == "developer" else role, "content": content}
    if name is not None:
        known["name"] = name
    if tool_calls:
        known["tool_calls"] = list(tool_calls)
    return known


def tool_result(call_id: str, content: str, name: str | None = None) -> Message:
    """Return the message with the result of a call."""
    known = message("tool", content, name)
    known["tool_call_id"] = call_id
    return known


def tool_call(call_id: str, name: str, arguments: dict[str, Any]) -> ToolCall:
    """Return a call for a message of the assistant."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
