"""Fields that say what form a reply must have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, with_config
from typing_extensions import NotRequired, TypedDict

from pararnn_server.http.schemas.base import STRICT, RequestBody, without_unknown_nulls
from pararnn_server.http.schemas.first_fault import FirstFault, Mapping

# Members of one object or list; a whole schema has a limit of bytes.
MAX_MEMBERS = 16_384
SchemaObject = Annotated[dict[str, Any], Mapping(max_length=MAX_MEMBERS)]
FormName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_MEMBERS), FirstFault()]


def _object_or_text(value: Any) -> str:
    return "|object" if isinstance(value, dict) else "|text"


SchemaOrText = Annotated[
    Annotated[SchemaObject, Tag("|object")] | Annotated[Text, Tag("|text")], Discriminator(_object_or_text)
]


# Dictionaries, because an attribute of a model cannot be called `schema` or `json`.
@with_config(STRICT)
class TextForm(TypedDict):
    """Any text."""

    type: Literal["text"]


@with_config(STRICT)
class JsonObjectForm(TypedDict):
    """A JSON object. `schema`: by which it is valid, as llama.cpp has it."""

    type: Literal["json_object"]
    schema: NotRequired[SchemaObject | None]


@with_config(STRICT)
class SchemaForm(TypedDict):
    """A schema. It always holds, whatever `strict` is; nothing reads its name and description."""

    schema: SchemaObject
    name: NotRequired[FormName | None]
    description: NotRequired[Annotated[str, Field(max_length=MAX_MEMBERS)] | None]
    strict: NotRequired[bool | None]


def _known(form: type) -> BeforeValidator:
    names = frozenset(form.__annotations__)
    return BeforeValidator(lambda value: without_unknown_nulls(value, names))


@with_config(STRICT)
class JsonSchemaForm(TypedDict):
    """JSON that is valid by a schema."""

    type: Literal["json_schema"]
    json_schema: Annotated[SchemaForm, _known(SchemaForm)]


@with_config(STRICT)
class NamedSchemaForm(SchemaForm):
    """JSON that is valid by a schema, as /v1/responses has it."""

    type: Literal["json_schema"]


@with_config(STRICT)
class StructuredOutputs(TypedDict):
    """One of several forms, by the names that vLLM has for them."""

    json: NotRequired[SchemaOrText | None]
    json_object: NotRequired[Literal[True] | None]
    regex: NotRequired[Text | None]
    choice: NotRequired[Texts | None]
    grammar: NotRequired[Text | None]


def _type_of(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"|{kind}" if kind in ("json_object", "json_schema") else "|text"


_AnyText = Annotated[TextForm, _known(TextForm), Tag("|text")]
_AnyObject = Annotated[JsonObjectForm, _known(JsonObjectForm), Tag("|json_object")]
ResponseFormat = Annotated[
    _AnyText | _AnyObject | Annotated[JsonSchemaForm, _known(JsonSchemaForm), Tag("|json_schema")],
    Discriminator(_type_of),
]
TextFormat = Annotated[
    _AnyText | _AnyObject | Annotated[NamedSchemaForm, _known(NamedSchemaForm), Tag("|json_schema")],
    Discriminator(_type_of),
]


class FormFields(RequestBody):
    """The form of a reply; at most one of them.

    The guided ones are older names of vLLM. `json_schema` and `grammar` are names of llama.cpp.
    """

    response_format: ResponseFormat | None = None
    structured_outputs: Annotated[StructuredOutputs, _known(StructuredOutputs)] | None = None
    guided_json: SchemaOrText | None = None
    guided_regex: Text | None = None
    guided_choice: Texts | None = None
    guided_grammar: Text | None = None
    json_schema: SchemaOrText | None = None
    grammar: Text | None = None
