"""Abilities of a chat template with tools, found by rendering a short conversation with a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.text.conversation import Message, ToolCall, message, tool_call, tool_result
from pararnn_server.text.template_renderer import TemplateFailed
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.formats import format_of
from pararnn_server.tools.tool import Tool

_PROBE_NAME = "probe_function"
_RESULT = "probe_result"
_ARGUMENTS = {"probe_key": "probe_value"}
_SHOWN = Tool.of(
    "shown_function",
    "A probe.",
    {
        "type": "object",
        "properties": {"shown_key": {"type": "string", "description": "A key."}},
        "required": ["shown_key"],
    },
)
# Nine characters, which is the one length that some templates take.
_CALL_IDS = ("call00000", "call00001")
_OTHER_NAME = "other_function"


@dataclass(frozen=True, slots=True)
class TemplateTools:
    """Abilities of one template.

    shows_tools, shows_calls, shows_results: True if the prompt holds them.
    shows_several: True if one message may have several calls.
    needs_text: arguments are given as text instead of an object.
    needs_content: a message that only calls tools is given an empty text instead of none.
    call_format: in which it writes calls; None: in none that is known.
    """

    shows_tools: bool = False
    shows_calls: bool = False
    shows_results: bool = False
    shows_several: bool = False
    needs_text: bool = False
    needs_content: bool = False
    call_format: CallFormat | None = None

    def given(self, known: Message) -> dict[str, Any]:
        """Return a message as the template is given it."""
        fields: dict[str, Any] = dict(known)
        if known["content"] is None:
            # As transformers gives it: templates would show None, and know what to do without a content.
            del fields["content"]
            if self.needs_content:
                fields["content"] = ""
        if self.needs_text and "tool_calls" in known:
            fields["tool_calls"] = [_as_text(call) for call in known["tool_calls"]]
        return fields


Render = Callable[[Sequence[dict[str, Any]], Sequence[Tool]], str]
"""Returns the prompt of messages and tools, closed. Raises TemplateFailed."""


def probed(source: str, render: Render) -> TemplateTools:
    """Return the abilities of a template. source: of a template that never says "tool", nothing is tried."""
    if "tool" not in source:
        return TemplateTools()
    question = message("user", "question")
    shown = _tried(render, [dict(question)], [_SHOWN])
    shows_tools = "shown_function" in shown and "shown_key" in shown
    called = [question, message("assistant", None, tool_calls=[_call(0, _PROBE_NAME)])]
    # The order of preference: as transformers gives messages, before what other templates need.
    for needs_content in (False, True):
        for needs_text in (False, True):
            found = TemplateTools(shows_tools, needs_text=needs_text, needs_content=needs_content)
            text = _tried(render, [found.given(each) for each in called], [_SHOWN] if shows_tools else [])
            if _PROBE_NAME in text and "probe_value" in text and str(_ARGUMENTS) not in text:
                return _with_results(found, render, called, text)
    return TemplateTools(shows_tools, shows_results=_shows_result(TemplateTools(), render, [question]))


def _with_results(
    found: TemplateTools, render: Render, called: Sequence[Message], text: str
) -> TemplateTools:
    both = message("assistant", None, tool_calls=[_call(0, _PROBE_NAME), _call(1, _OTHER_NAME)])
    several = _tried(render, [found.given(each) for each in (called[0], both)], [])
    return TemplateTools(
        shows_tools=found.shows_tools,
        shows_calls=True,
        shows_results=_shows_result(found, render, called),
        shows_several=_PROBE_NAME in several and _OTHER_NAME in several,
        needs_text=found.needs_text,
        needs_content=found.needs_content,
        call_format=format_of(text, _PROBE_NAME, json.dumps(_ARGUMENTS)),
    )


def _shows_result(found: TemplateTools, render: Render, before: Sequence[Message]) -> bool:
    messages = [*before, tool_result(_CALL_IDS[0], _RESULT)]
    return _RESULT in _tried(render, [found.given(each) for each in messages], [])


def _tried(render: Render, messages: Sequence[dict[str, Any]], tools: Sequence[Tool]) -> str:
    """Return the prompt, or nothing where the template refuses the messages."""
    try:
        return render(messages, tools)
    except TemplateFailed:
        return ""


def _call(number: int, name: str) -> ToolCall:
    return tool_call(_CALL_IDS[number], name, dict(_ARGUMENTS))


def _as_text(call: ToolCall) -> dict[str, Any]:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}
