"""The input of a response: text, or items."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import (
    AtMostMaxMessages,
    EmptyList,
    PromptCacheBreakpoint,
    RequestBody,
)
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.response_items import TextMark
from pararnn_server.http.schemas.response_tools import (
    FunctionCallItem,
    FunctionCallOutputItem,
)


class InputText(RequestBody):
    """Text of a message; pieces are joined without anything between them."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class SentBackText(RequestBody):
    """A reply of before, as the answer that held it gave it."""

    type: Literal["output_text"]
    text: str
    annotations: EmptyList | None = None
    logprobs: EmptyList | None = None


def _kind_of_part(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "|output_text" if kind == "output_text" else "|input_text"


def _text_or_parts(value: Any) -> str:
    return "|parts" if isinstance(value, list) else "|text"


def _text_or_items(value: Any) -> str:
    return "|items" if isinstance(value, list) else "|text"


ContentPart = Annotated[
    Annotated[InputText, Tag("|input_text")] | Annotated[SentBackText, Tag("|output_text")],
    Discriminator(_kind_of_part),
]
ItemContent = Annotated[
    Annotated[str, Tag("|text")]
    | Annotated[list[ContentPart], Field(min_length=1), FirstFault(), Tag("|parts")],
    Discriminator(_text_or_parts),
]


class MessageItem(RequestBody):
    """A message; `id` and `status` are accepted in one that is sent back, and mean nothing."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent
    # Clients send items back as they got them.
    id: Annotated[str, Field(max_length=64)] | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_items(cls, value: Any) -> Any:
        # Before the fields are checked, or the message would name one that another kind of item has.
        if isinstance(value, dict) and value.get("type") not in (None, "message"):
            known = (
                "only messages, function calls, their outputs, item references, reasoning and compactions"
                " are taken"
            )
            raise PydanticCustomError("item_unsupported", known, {"field": "type"})
        return value

    @property
    def text(self) -> str:
        """The content, its parts joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    @property
    def marks(self) -> tuple[TextMark, ...]:
        """The marks of its parts. A reply of the model has none."""
        if isinstance(self.content, str) or self.role == "assistant":
            return ()
        ends = accumulate(len(part.text) for part in self.content)
        marks = (
            part.prompt_cache_breakpoint if isinstance(part, InputText) else None for part in self.content
        )
        return tuple(
            TextMark(end, mark.ttl) for end, mark in zip(ends, marks, strict=True) if mark is not None
        )


class ItemReference(RequestBody):
    """An item of a stored response, by its id."""

    type: Literal["item_reference"] | None = None
    id: Annotated[str, Field(min_length=1, max_length=64)]


class ReasoningText(RequestBody):
    """A part of a reasoning item."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningItem(RequestBody):
    """Reasoning of another model, which is accepted and not read: these models have none."""

    type: Literal["reasoning"]
    id: Annotated[str, Field(max_length=256)] | None = None
    summary: Annotated[list[ReasoningText], FirstFault()] | None = None
    content: Annotated[list[ReasoningText], FirstFault()] | None = None
    # Clients send back all items of a conversation, also those of another model.
    encrypted_content: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class CompactionItem(RequestBody):
    """A conversation's state as this server sealed it. What follows it is new."""

    type: Literal["compaction"]
    encrypted_content: Annotated[str, Field(min_length=1)]
    id: Annotated[str, Field(max_length=64)] | None = None
    created_by: Annotated[str, Field(max_length=256)] | None = None


_OTHER_KINDS = ("reasoning", "function_call", "function_call_output", "compaction")


def _kind_of_item(value: Any) -> str:
    if not isinstance(value, dict):
        return "|message"
    kind = value.get("type")
    # OpenAI lets a reference go without its type.
    if kind == "item_reference" or (kind is None and "id" in value and "role" not in value):
        return "|item_reference"
    return f"|{kind}" if kind in _OTHER_KINDS else "|message"


InputItem = Annotated[
    Annotated[MessageItem, Tag("|message")]
    | Annotated[ItemReference, Tag("|item_reference")]
    | Annotated[ReasoningItem, Tag("|reasoning")]
    | Annotated[FunctionCallItem, Tag("|function_call")]
    | Annotated[FunctionCallOutputItem, Tag("|function_call_output")]
    | Annotated[CompactionItem, Tag("|compaction")],
    Discriminator(_kind_of_item),
]

Input = Annotated[
    Annotated[str, Field(min_length=1), Tag("|text")]
    | Annotated[list[InputItem], Field(min_length=1), FirstFault(), AtMostMaxMessages, Tag("|items")],
    Discriminator(_text_or_items),
]
