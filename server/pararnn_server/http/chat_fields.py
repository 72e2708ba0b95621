"""Messages and tools of a chat's body to those that templates, grammars and parsers take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request

from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import off_loop
from pararnn_server.http.json_values import holds_more_values
from pararnn_server.http.schemas.chat import ChatRequest, MessageFields, text_of
from pararnn_server.http.schemas.tools import AllowedToolsChoice, FunctionTool, MessageToolCall, ToolChoice
from pararnn_server.models.service import service_of
from pararnn_server.text.conversation import Message, ToolCall, message, tool_call, tool_result
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_ids import call_id
from pararnn_server.tools.call_parser import parsed
from pararnn_server.tools.tool import NO_TOOLS, Tool, ToolMode, ToolUse


async def messages_of(request: Request, bodies: Sequence[MessageFields]) -> list[Message]:
    """Return the messages of a request in the form that templates take. Raises BadRequest."""
    max_values = service_of(request).settings.max_body_values
    return await off_loop(request, template_messages, bodies, max_values)


def template_messages(bodies: Sequence[MessageFields], max_values: int) -> list[Message]:
    """Return messages in the form that templates take. Raises BadRequest, as `check_values` does."""
    calls = [call for body in bodies for call in body.get("tool_calls") or ()]
    check_values([call.function.arguments for call in calls], max_values, "messages")
    return [_template_message(number, body) for number, body in enumerate(bodies)]


def check_values(arguments: Sequence[str], max_values: int, param: str) -> None:
    """Raise BadRequest if the arguments of all calls hold more values than a body may."""
    if arguments and holds_more_values("".join(arguments).encode(), max_values):
        message = f"{param}: the arguments of all calls have over {max_values} values: send less."
        raise BadRequest(message, param=param, code="too_many_values")


def template_variables(body: ChatRequest, reserved: AbstractSet[str], max_bytes: int) -> Mapping[str, Any]:
    """Return the variables of the template that a request sets. Raises BadRequest.

    reserved: names that it cannot set. max_bytes: of the JSON of chat_template_kwargs.
    """
    given = body.chat_template_kwargs or {}
    if (name := next((name for name in given if name in reserved), None)) is not None:
        place = f"chat_template_kwargs.{name}"
        raise BadRequest(
            f"{place}: the server sets it; a field of the request may have its name.", param=place
        )
    if given and len(json.dumps(given)) > max_bytes:
        message = f"chat_template_kwargs: at most {max_bytes} bytes of JSON (max_template_kwargs_bytes)."
        raise BadRequest(message, param="chat_template_kwargs")
    return {**given, "documents": body.documents} if body.documents else given


def tool_use(
    tools: Sequence[FunctionTool] | None,
    choice: ToolChoice | None,
    max_bytes: int,
    *,
    parallel: bool | None = None,
) -> ToolUse:
    """Return the rules of a request. Raises BadRequest, also for tools of more than `max_bytes`."""
    given = [Tool(dict(each.function)) for each in tools or ()]
    mode, names = _choice_of(choice)
    return tool_rules(given, mode, names, parallel=parallel is not False, max_bytes=max_bytes)


def tool_rules(
    tools: Sequence[Tool],
    mode: ToolMode | None,
    names: Sequence[str] | None,
    *,
    parallel: bool,
    max_bytes: int,
    place: str = "function.",
) -> ToolUse:
    """Return the rules of a request, whatever its wire. Raises BadRequest.

    mode None: the default. names: of the tools that may be called; None: all. place: as in ToolUse.
    """
    if not tools:
        if mode == "required" or names:
            raise BadRequest("tool_choice: there are no tools to call: send tools.", param="tool_choice")
        return NO_TOOLS
    by_name = {tool.name: tool for tool in tools}
    if len(by_name) < len(tools):
        raise BadRequest("tools: two of them have the same name.", param="tools")
    if sum(len(json.dumps(tool.function)) for tool in tools) > max_bytes:
        message = f"tools: at most {max_bytes} bytes of JSON: send fewer tools, or shorter descriptions."
        raise BadRequest(message, param="tools")
    for name in names or ():
        if name not in by_name:
            raise BadRequest(f"tool_choice: {name!r} is none of the tools.", param="tool_choice")
    chosen = tools if names is None else [by_name[name] for name in dict.fromkeys(names)]
    return ToolUse(tools, mode or "auto", chosen, parallel, place)


def _choice_of(choice: ToolChoice | None) -> tuple[ToolMode | None, list[str] | None]:
    """Return the mode, and the names of the tools that may be called; None: all."""
    if choice is None or isinstance(choice, str):
        return choice, None
    if isinstance(choice, AllowedToolsChoice):
        return choice.allowed_tools.mode, [each.function.name for each in choice.allowed_tools.tools]
    return "required", [choice.function.name]


def reply_message(form: CallFormat | None, text: str, answer_id: str, index: int) -> Message:
    """Return a reply as the message that a client will send back. Raises BadRequest for a cut call."""
    if form is None:
        return message("assistant", text)
    reply = parsed(form, text)
    calls = [
        tool_call(call_id(answer_id, index, i, form), name, parsed_arguments(arguments, "tool_calls"))
        for i, (name, arguments) in enumerate(reply.calls)
    ]
    return message("assistant", reply.content or (None if calls else ""), tool_calls=calls)


def _template_message(number: int, body: MessageFields) -> Message:
    text = text_of(body)
    if body["role"] == "tool":
        return tool_result(body.get("tool_call_id") or "", text or "", body.get("name"))
    calls = body.get("tool_calls") or ()
    called = [_template_call(f"messages.{number}.tool_calls.{i}", call) for i, call in enumerate(calls)]
    return message(body["role"], text, body.get("name"), called)


def _template_call(place: str, call: MessageToolCall) -> ToolCall:
    arguments = parsed_arguments(call.function.arguments, f"{place}.function.arguments")
    return tool_call(call.id, call.function.name, arguments)


def parsed_arguments(text: str, param: str) -> dict[str, Any]:
    """Return the arguments of a call, which templates take as an object. Raises BadRequest."""
    # Some clients send no text for a call without arguments.
    try:
        arguments = from_json(text, allow_inf_nan=False) if text.strip() else {}
    except ValueError as error:
        raise BadRequest(f"{param}: not valid JSON: {error}.", param=param, code="invalid_json") from error
    if not isinstance(arguments, dict):
        raise BadRequest(f"{param}: must be the text of a JSON object.", param=param)
    return arguments
