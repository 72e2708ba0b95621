"""Messages of /v1/messages: who wrote them, and their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import EmptyList, RequestBody
from pararnn_server.http.schemas.first_fault import FirstFault, Mapping
from pararnn_server.http.schemas.tools import CallId, ToolName

_MOST_ARGUMENTS = 4096


class CacheControl(RequestBody):
    """Marks the end of a beginning that other prompts share: its state is kept for the time to live."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(RequestBody):
    """Text; the blocks of a message are joined without anything between them."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    # A reply that is sent back has the field.
    citations: EmptyList | None = None


class ThinkingBlock(RequestBody):
    """Thinking of another model that is sent back; it is not read."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(RequestBody):
    """Thinking of another model that is sent back; it is not read."""

    type: Literal["redacted_thinking"]
    data: str


class DirectCaller(RequestBody):
    """The model itself."""

    type: Literal["direct"]


class ToolUseBlock(RequestBody):
    """A call of a tool that the assistant made."""

    type: Literal["tool_use"]
    id: CallId
    name: ToolName
    input: Annotated[dict[str, Any], Mapping(max_length=_MOST_ARGUMENTS)]
    cache_control: CacheControl | None = None
    # A reply that is sent back has the field.
    caller: DirectCaller | None = None


def _kind_of(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def _of_kinds(*kinds: str) -> BeforeValidator:
    """Refuse a block of another kind before its fields are checked: they belong to that kind."""

    def check(value: Any) -> Any:
        kind = _kind_of(value)
        if isinstance(kind, str) and kind not in kinds:
            words = {"field": "type", "kinds": ", ".join(kinds)}
            message = "this server reads text alone: send blocks of these types: {kinds}"
            raise PydanticCustomError("other_block", message, words)
        return value

    return BeforeValidator(check)


Text = Annotated[TextBlock, _of_kinds("text")]


def _text_or_blocks(value: Any) -> str:
    return "|blocks" if isinstance(value, list) else "|text"


TextContent = Annotated[
    Annotated[str, Tag("|text")] | Annotated[list[Text], FirstFault(), Tag("|blocks")],
    Discriminator(_text_or_blocks),
]


class ToolResultBlock(RequestBody):
    """The result of a call. is_error: the call failed, and the content says why."""

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: TextContent | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


_KINDS = ("text", "tool_use", "tool_result", "thinking", "redacted_thinking")


def _kind_of_block(value: Any) -> str:
    kind = _kind_of(value)
    return f"|{kind}" if kind in _KINDS else "|text"


Block = Annotated[
    Annotated[TextBlock, Tag("|text")]
    | Annotated[ToolUseBlock, Tag("|tool_use")]
    | Annotated[ToolResultBlock, Tag("|tool_result")]
    | Annotated[ThinkingBlock, Tag("|thinking")]
    | Annotated[RedactedThinkingBlock, Tag("|redacted_thinking")],
    Discriminator(_kind_of_block),
    _of_kinds(*_KINDS),
]

Content = Annotated[
    Annotated[str, Tag("|text")] | Annotated[list[Block], FirstFault(), Tag("|blocks")],
    Discriminator(_text_or_blocks),
]

_KINDS_OF_ROLES = {
    "user": (TextBlock, ToolResultBlock),
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
    "system": (TextBlock,),
}


class AskedMessage(RequestBody):
    """A message of a user or the system, or a reply that is sent back. The last may begin the reply."""

    role: Literal["user", "assistant", "system"]
    content: Content

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks; of a plain text none."""
        return () if isinstance(self.content, str) else self.content


def _check_roles(message: AskedMessage) -> AskedMessage:
    kinds = _KINDS_OF_ROLES[message.role]
    for number, block in enumerate(message.blocks):
        if not isinstance(block, kinds):
            context = {"field": f"content.{number}.type", "role": message.role, "kind": block.type}
            words = "a message of the role {role} has no blocks of the type {kind}"
            raise PydanticCustomError("block_of_another_role", words, context)
        # As Anthropic's API wants it: a result answers the message before.
        if (
            isinstance(block, ToolResultBlock)
            and number
            and isinstance(message.blocks[number - 1], TextBlock)
        ):
            context = {"field": f"content.{number}"}
            raise PydanticCustomError("result_behind_text", "results of calls come before text", context)
    return message


GivenMessage = Annotated[AskedMessage, AfterValidator(_check_roles)]
