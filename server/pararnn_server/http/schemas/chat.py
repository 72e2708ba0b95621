"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import NotRequired, TypedDict

from pararnn_server.http.schemas.base import (
    STRICT,
    AtMostMaxMessages,
    EmptyList,
    Examples,
    MessageContent,
    Metadata,
    RequestBody,
    ResponseBody,
    without_unknown_nulls,
)
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.generation import HonouredFields, RecordedFields, TopLogprobs
from pararnn_server.http.schemas.neutral import DialogueNeutral, NoReasoningEffort
from pararnn_server.http.schemas.usage import SessionStamp, Usage

FinishReason = Literal["stop", "length", "cancelled"]


# OpenAI's rule for names.
AuthorName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s<|\\/>]+$")]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("must be false: chats are not stored")
    return value


# A long conversation comes back with every turn: a dictionary is checked in half the time of an object.
@with_config(STRICT)
class MessageFields(TypedDict):
    """One message. `name`: its author, for templates that show it.

    The fields after `name` are those of an answer that a client sends back; all empty.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: MessageContent
    name: NotRequired[AuthorName | None]
    # Clients send a whole answer back as the next message, empty fields included.
    refusal: NotRequired[None]
    annotations: NotRequired[EmptyList | None]
    audio: NotRequired[None]
    function_call: NotRequired[None]
    tool_calls: NotRequired[EmptyList | None]


def _ask_for_known_fields(value: Any) -> Any:
    # A clear word about tools: an error of the role alone would puzzle clients that use them.
    if isinstance(value, dict) and (value.get("role") in ("tool", "function") or value.get("tool_calls")):
        field = "tool_calls" if value.get("tool_calls") else "role"
        raise PydanticCustomError(
            "tools_unsupported",
            "this server calls no tools: send messages without calls and their results",
            {"field": field},
        )
    return without_unknown_nulls(value, MessageFields.__annotations__.keys())


Message = Annotated[MessageFields, BeforeValidator(_ask_for_known_fields)]


def text_of(message: MessageFields) -> str:
    """The content, its parts joined."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.text for part in content)


class ResponseFormat(RequestBody):
    """Plain text is the only format."""

    type: Literal["text"]


class ChatHonoured(HonouredFields):
    """Fields of a chat with an effect."""

    messages: Annotated[list[Message], Field(min_length=1), FirstFault(), AtMostMaxMessages]
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class ChatNeutral(DialogueNeutral):
    """Fields of a chat that only their neutral value may take."""

    store: Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"const": False})] | None = None
    echo: Literal[False] | None = None
    add_generation_prompt: Literal[True] | None = None
    continue_final_message: Literal[False] | None = None
    add_special_tokens: Literal[False] | None = None
    documents: EmptyList | None = None
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1), FirstFault()] | None = (
        None
    )
    reasoning_effort: NoReasoningEffort | None = None
    audio: None = None
    functions: None = None
    function_call: None = None
    prediction: None = None
    verbosity: Literal["medium"] | None = None
    web_search_options: None = None


class ChatRequest(ChatHonoured, RecordedFields, ChatNeutral):
    """Body of POST /v1/chat/completions."""

    EXAMPLES: ClassVar[Examples] = {
        "chat": {"messages": [{"role": "user", "content": "What does os.walk do?"}], "max_tokens": 16},
        "system message": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What does os.walk do?"},
            ],
            "max_tokens": 16,
            "temperature": 0,
        },
    }


class TopLogprob(ResponseBody):
    """A token that could have stood here; `bytes` are its own, also where `token` cannot show them."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The token at this place, and the likeliest ones."""

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
    stop_reason: str | int | None


class Delta(ResponseBody):
    """The part that a chunk adds; the role comes first, once."""

    role: Literal["assistant"] | None = None
    # Left out of the chunk that only ends a reply.
    content: str | None = None


class ChatChunkChoice(ResponseBody):
    """A piece of one reply; the last has a finish reason."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = None


class ChatCommon(ResponseBody):
    """Fields that whole answers and chunks share. `session` is there if the request named one."""

    id: str
    created: int
    model: str
    system_fingerprint: str
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
