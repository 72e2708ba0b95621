"""Tools of a chat, the choice among them, and calls in its messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import NotRequired, TypedDict

from pararnn_server.http.schemas.base import STRICT, RequestBody, without_unknown_nulls
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.structured import SchemaObject

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
CallId = Annotated[str, Field(min_length=1, max_length=256)]


@with_config(STRICT)
class FunctionDefinition(TypedDict):
    """A function that the model may call. parameters: a JSON Schema of type object; left out: it takes none.

    strict: a schema that cannot be enforced is an error; else arguments are then any object.
    """

    name: ToolName
    description: NotRequired[str | None]
    parameters: NotRequired[SchemaObject | None]
    strict: NotRequired[bool | None]


@with_config(STRICT)
class FlatFunctionTool(FunctionDefinition):
    """A tool that is a function, as responses have it."""

    type: Literal["function"]


def in_given_order(fields: type[FunctionDefinition]) -> WrapValidator:
    """Annotation that keeps the order of a client, in which a template may show the fields, without nulls."""

    def checked(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        known = check(without_unknown_nulls(value, fields.__annotations__.keys()))
        return {name: known[name] for name in value if known.get(name) is not None}

    return WrapValidator(checked)


class FunctionTool(RequestBody):
    """A tool that is a function."""

    type: Literal["function"]
    function: Annotated[FunctionDefinition, in_given_order(FunctionDefinition)]


def refuse_other_tools(value: Any) -> Any:
    """Refuse a kind of tool before its fields are checked: they belong to that kind."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "function":
        message = "only tools of type function are called here; leave other tools out"
        raise PydanticCustomError("tool_unsupported", message, {"field": "type"})
    return value


def _check_count(value: Any, info: ValidationInfo) -> Any:
    most = (info.context or {}).get("max_tools")
    if most is not None and isinstance(value, list) and len(value) > most:
        raise PydanticCustomError("too_many", "at most {most} of them: send fewer tools", {"most": most})
    return value


AtMostMaxTools = BeforeValidator(_check_count)
"""Annotation of a list of tools: checked against --max-tools before any of them is looked at."""

Tools = Annotated[
    list[Annotated[FunctionTool, BeforeValidator(refuse_other_tools)]], FirstFault(), AtMostMaxTools
]


class FunctionName(RequestBody):
    """A function by its name."""

    name: ToolName


class NamedFunction(RequestBody):
    """The function that must be called, or one that may be."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(RequestBody):
    """Those of the tools that may be called. mode: required: one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1), FirstFault(), AtMostMaxTools]


class AllowedToolsChoice(RequestBody):
    """A choice among some of the tools, so that the others stay in the prompt."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def kind_of_choice(value: Any) -> str:
    """Return the tag of a tool choice: a mode, a function, or a list of functions."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind == "allowed_tools":
        return "|allowed_tools"
    return "|mode" if isinstance(value, str) or value is None else "|function"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|mode")]
    | Annotated[NamedFunction, Tag("|function")]
    | Annotated[AllowedToolsChoice, Tag("|allowed_tools")],
    Discriminator(kind_of_choice),
]


class CalledFunction(RequestBody):
    """Name and arguments of a call, the arguments as the text of a JSON object."""

    name: ToolName
    arguments: str


class MessageToolCall(RequestBody):
    """A call of a tool, as the answer that made it gave it. index: of clients that send chunks back."""

    id: CallId
    type: Literal["function"]
    function: CalledFunction
    index: Annotated[int, Field(ge=0)] | None = None


class ToolFields(RequestBody):
    """Tools of a request, and the choice among them."""

    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
