"""Tools of /v1/messages, and the choice among them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import EmptyList, RequestBody
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.message_blocks import CacheControl
from pararnn_server.http.schemas.structured import SchemaObject
from pararnn_server.http.schemas.tools import AtMostMaxTools, ToolName


class MessageTool(RequestBody):
    """A tool that the client calls for the model. input_schema: a JSON Schema of type object.

    The fields from `cache_control` on have no effect, and take only what is done anyway.
    """

    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: SchemaObject
    strict: bool | None = None
    cache_control: CacheControl | None = None
    allowed_callers: (
        Annotated[list[Literal["direct"]], Field(min_length=1, max_length=1), FirstFault()] | None
    ) = None
    defer_loading: Literal[False] | None = None
    # Input always leaves as the model writes it.
    eager_input_streaming: Literal[True] | None = None
    input_examples: EmptyList | None = None


def _refuse_other_tools(value: Any) -> Any:
    """Refuse a kind of tool before its fields are checked: they belong to that kind."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "custom":
        message = "only tools of the client are called here; leave those that a server runs out"
        raise PydanticCustomError("tool_unsupported", message, {"field": "type"})
    return value


MessageTools = Annotated[
    list[Annotated[MessageTool, BeforeValidator(_refuse_other_tools)]], FirstFault(), AtMostMaxTools
]


class ToolMode(RequestBody):
    """auto: text, or calls where the model opens one. any: one call at least."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedTool(RequestBody):
    """The tool that must be called."""

    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class NoTool(RequestBody):
    """No call."""

    type: Literal["none"]


def _kind_of_choice(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"|{kind}" if kind in ("tool", "none") else "|mode"


MessageToolChoice = Annotated[
    Annotated[ToolMode, Tag("|mode")] | Annotated[NamedTool, Tag("|tool")] | Annotated[NoTool, Tag("|none")],
    Discriminator(_kind_of_choice),
]
