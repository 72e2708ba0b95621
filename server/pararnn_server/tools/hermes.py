"""Calls in marks of their own, as Hermes and Qwen models write them."""

from __future__ import annotations

from pararnn_server.tools.call_format import CallFormat

HERMES = CallFormat(
    name="hermes",
    mark="<tool_call>",
    head='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    tail="}\n</tool_call>",
    separator="\n",
)
