"""Rules every body obeys, and the types several of them share."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.first_fault import FirstFault, Mapping
from pararnn_server.state_cache.prefix_tree import id_array

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


def without_unknown_nulls(value: Any, known: AbstractSet[str]) -> Any:
    """Return an object without the unknown fields that are null: a null asks for nothing.

    value: what the JSON parser made; anything but an object is returned as it is.
    Raises PydanticCustomError "extra_forbidden". Its context has the first unknown field with a value, and
    all known fields.
    """
    # The common case: no copy and no loop.
    if not isinstance(value, dict) or value.keys() <= known:
        return value
    for name, entry in value.items():
        if entry is not None and name not in known:
            # The message asks whether a field with a close name was meant.
            context = {"field": name, "known": sorted(known)}
            raise PydanticCustomError("extra_forbidden", "unknown field", context)
    return {name: entry for name, entry in value.items() if name in known}


def _check_count(value: Any, info: ValidationInfo) -> Any:
    most = (info.context or {}).get("max_messages")
    if most is not None and isinstance(value, list) and len(value) > most:
        raise PydanticCustomError("too_many", "at most {most} of them: leave the oldest out", {"most": most})
    return value


AtMostMaxMessages = BeforeValidator(_check_count)
"""Annotation of a list of messages: checked against --max-messages before any of them is looked at."""


Examples = dict[str, dict[str, Any]]
"""Bodies that work, by what they ask for: /openapi.json shows them, and a test sends them."""


class RequestBody(BaseModel):
    """Refuses unknown fields that are not null, and near misses of type.

    "0.5" and 1e999 are not numbers, and true is not an integer.
    """

    model_config = STRICT
    EXAMPLES: ClassVar[Examples] = {}

    @model_validator(mode="before")
    @classmethod
    def _ask_for_known_fields(cls, value: Any) -> Any:
        return without_unknown_nulls(value, cls.model_fields.keys())


class ResponseBody(BaseModel):
    """Describes an answer; routes write their JSON by hand and a test compares the two."""

    model_config = STRICT


def kind_of(value: Any) -> str:
    """Tag of a prompt-like value, parsed or checked. Error locations leave out tags, which start with "|"."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(value, list) and first is not value:
        return (
            "|texts" if isinstance(first, str) else "|id_lists" if isinstance(first, list | array) else "|ids"
        )
    return "|text" if isinstance(value, str) else "|ids"


def _text_or_texts(value: Any) -> str:
    return "|texts" if isinstance(value, list) else "|text"


def _text_or_parts(value: Any) -> str:
    return "|parts" if isinstance(value, list) else "|text"


# No setting of --max-prompts is larger.
MAX_PROMPTS = 4096


def _as_list(ids: Sequence[int]) -> Any:
    return list(ids)


TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
# An array takes an eighth of a list's memory, and is made where the body is parsed.
TokenIds = Annotated[list[TokenId], FirstFault(), AfterValidator(id_array), PlainSerializer(_as_list)]

Prompt = Annotated[
    Annotated[str, Tag("|text")]
    | Annotated[TokenIds, Tag("|ids")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS), FirstFault(), Tag("|texts")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS), FirstFault(), Tag("|id_lists")],
    Discriminator(kind_of),
]

StopString = Annotated[str, Field(min_length=1, max_length=1024)]
Stop = Annotated[
    Annotated[StopString, Tag("|text")]
    | Annotated[list[StopString], Field(max_length=16), FirstFault(), Tag("|texts")],
    Discriminator(_text_or_texts),
]

Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Mapping(max_length=16),
]

SessionId = Annotated[str, Field(min_length=1, max_length=64)]

EmptyList = Annotated[list[Any], Field(max_length=0), FirstFault()]
EmptyObject = Annotated[dict[str, Any], Mapping(max_length=0)]


# OpenAI has 30 minutes only, Anthropic the others.
CacheTtl = Literal["5m", "30m", "1h"]


class PromptCacheBreakpoint(RequestBody):
    """Marks the end of a beginning that other prompts share. ttl: left out, that of the request."""

    mode: Literal["explicit"]
    ttl: CacheTtl | None = None


class TextPart(RequestBody):
    """A piece of a message; pieces are joined without anything between them."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


MessageContent = Annotated[
    Annotated[str, Tag("|text")]
    | Annotated[list[TextPart], Field(min_length=1), FirstFault(), Tag("|parts")],
    Discriminator(_text_or_parts),
]
