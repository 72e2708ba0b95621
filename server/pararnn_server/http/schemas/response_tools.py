"""Tools of a response, the choice among them, and items that are calls and their results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import RequestBody, ResponseBody
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.tools import (
    AtMostMaxTools,
    CallId,
    FlatFunctionTool,
    ToolName,
    in_given_order,
    kind_of_choice,
    refuse_other_tools,
)

FlatTool = Annotated[FlatFunctionTool, in_given_order(FlatFunctionTool), BeforeValidator(refuse_other_tools)]
FlatTools = Annotated[list[FlatTool], FirstFault(), AtMostMaxTools]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class FlatFunctionName(RequestBody):
    """A function by its name."""

    type: Literal["function"]
    name: ToolName


def _refuse_other_choices(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "function":
        message = "only 'function' and 'allowed_tools' are choices here"
        raise PydanticCustomError("tool_unsupported", message, {"field": "type"})
    return value


NamedFlatFunction = Annotated[FlatFunctionName, BeforeValidator(_refuse_other_choices)]


class FlatAllowedTools(RequestBody):
    """Those of the tools that may be called. mode: required: one must be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFlatFunction], Field(min_length=1), FirstFault(), AtMostMaxTools]


FlatToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|mode")]
    | Annotated[NamedFlatFunction, Tag("|function")]
    | Annotated[FlatAllowedTools, Tag("|allowed_tools")],
    Discriminator(kind_of_choice),
]


class FlatToolFields(RequestBody):
    """Tools of a response, and the choice among them."""

    tools: FlatTools | None = None
    tool_choice: FlatToolChoice | None = None
    parallel_tool_calls: bool | None = None


class FunctionCallItem(RequestBody):
    """A call of before, as the response that made it gave it."""

    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    arguments: str
    id: Annotated[str, Field(max_length=64)] | None = None
    status: ItemStatus | None = None


class OutputPart(RequestBody):
    """Text of a result; pieces are joined without anything between them."""

    type: Literal["input_text"]
    text: str


def _text_or_parts(value: Any) -> str:
    return "|parts" if isinstance(value, list) else "|text"


class FunctionCallOutputItem(RequestBody):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Annotated[
        Annotated[str, Tag("|text")] | Annotated[list[OutputPart], FirstFault(), Tag("|parts")],
        Discriminator(_text_or_parts),
    ]
    id: Annotated[str, Field(max_length=64)] | None = None
    status: ItemStatus | None = None

    @property
    def text(self) -> str:
        """The output, its parts joined."""
        return self.output if isinstance(self.output, str) else "".join(part.text for part in self.output)


class FunctionCall(ResponseBody):
    """A call of a tool. arguments: as the model wrote them."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class StoredCallOutput(ResponseBody):
    """The result of a call, as an input item."""

    id: str
    type: Literal["function_call_output"]
    status: Literal["completed"]
    call_id: str
    output: str


class GivenTool(ResponseBody):
    """A tool as the request gave it."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class GivenName(ResponseBody):
    """A function by its name."""

    type: Literal["function"]
    name: str


class GivenAllowedTools(ResponseBody):
    """Those of the tools that may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[GivenName]
