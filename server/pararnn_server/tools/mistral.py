"""Calls behind a special token, as Mistral models write them: as a list, and each by itself."""

from __future__ import annotations

from pararnn_server.tools.call_format import CallFormat

MISTRAL_LIST = CallFormat(
    name="mistral_list",
    mark="[TOOL_CALLS]",
    prefix="[TOOL_CALLS][",
    head='{"name": "',
    middle='", "arguments": ',
    tail="}",
    separator=", ",
    suffix="]",
    id_length=9,
)
MISTRAL = CallFormat(
    name="mistral",
    mark="[TOOL_CALLS]",
    head="[TOOL_CALLS]",
    middle="[ARGS]",
    tail="",
    separator="",
    id_length=9,
)
