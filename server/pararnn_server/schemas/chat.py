"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, with_config
from typing_extensions import NotRequired, TypedDict

from pararnn_server.schemas.base import (
    STRICT,
    EmptyList,
    MessageContent,
    Metadata,
    RequestBody,
    ResponseBody,
)
from pararnn_server.schemas.generation import HonouredFields, NeutralFields, RecordedFields, TopLogprobs
from pararnn_server.schemas.usage import SessionStamp, Usage

FinishReason = Literal["stop", "length", "cancelled"]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("must be false: chats are not stored")
    return value


# A long conversation comes back with every turn: a dictionary is checked in half the time of an object.
@with_config(STRICT)
class Message(TypedDict):
    """One message. The fields after `content` are those of an answer that a client sends back; all empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: MessageContent
    name: NotRequired[None]
    refusal: NotRequired[None]
    annotations: NotRequired[EmptyList | None]
    audio: NotRequired[None]
    function_call: NotRequired[None]
    tool_calls: NotRequired[EmptyList | None]


def text_of(message: Message) -> str:
    """The content, its parts joined."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.text for part in content)


class ResponseFormat(RequestBody):
    """Plain text is the only format."""

    type: Literal["text"]


class ChatHonoured(HonouredFields):
    """Fields of a chat with an effect."""

    messages: Annotated[list[Message], Field(min_length=1)]
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class ChatNeutral(NeutralFields):
    """Fields of a chat that only their neutral value may take."""

    store: Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"const": False})] | None = None
    tools: EmptyList | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    reasoning_effort: Literal["none"] | None = None
    audio: None = None
    functions: None = None
    function_call: None = None
    prediction: None = None
    verbosity: None = None
    web_search_options: None = None


class ChatRequest(ChatHonoured, RecordedFields, ChatNeutral):
    """Body of POST /v1/chat/completions."""


class TopLogprob(ResponseBody):
    """A token that could have stood here; `bytes` are its own, also where `token` cannot show them."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The token that stands here, and the likeliest."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(ResponseBody):
    """One entry per token."""

    content: list[TokenLogprob]
    refusal: None


class ReplyMessage(ResponseBody):
    """The reply."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(ResponseBody):
    """One reply and how it ended."""

    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class Delta(ResponseBody):
    """What a chunk adds; the role comes first, once."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(ResponseBody):
    """A piece of one reply; the last has a finish reason."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCommon(ResponseBody):
    """What whole answers and chunks share. `session` stands where a session was named."""

    id: str
    created: int
    model: str
    session: SessionStamp | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Metadata | None = None
    prompt_cache_key: str | None = None


class ChatResponse(ChatCommon):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChatChunk(ChatCommon):
    """One event of a stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
