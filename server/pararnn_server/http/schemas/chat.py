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
    ResponseBody,
    without_unknown_nulls,
)
from pararnn_server.http.schemas.first_fault import FirstFault, Mapping
from pararnn_server.http.schemas.generation import HonouredFields, RecordedFields, TopLogprobs
from pararnn_server.http.schemas.neutral import NeutralFields, NoReasoningEffort
from pararnn_server.http.schemas.prompt_cache import PromptCacheFields
from pararnn_server.http.schemas.prompt_logprobs import PromptLogprobs
from pararnn_server.http.schemas.tools import AtMostMaxTools, CallId, MessageToolCall, ToolFields
from pararnn_server.http.schemas.usage import SessionStamp, Usage

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


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

    content: null or left out only in a message of the assistant that calls tools.
    tool_calls: of the assistant. tool_call_id: of a tool, the call whose result the content is.
    The fields after `tool_call_id` are those of an answer that a client sends back; all empty.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: NotRequired[MessageContent | None]
    name: NotRequired[AuthorName | None]
    tool_calls: NotRequired[Annotated[list[MessageToolCall], FirstFault(), AtMostMaxTools] | None]
    tool_call_id: NotRequired[CallId | None]
    # Clients send a whole answer back as the next message, empty fields included.
    refusal: NotRequired[None]
    annotations: NotRequired[EmptyList | None]
    audio: NotRequired[None]
    function_call: NotRequired[None]


def _ask_for_known_fields(value: Any) -> Any:
    # A clear word about these: they were the names of tools once, and old clients still send them.
    if isinstance(value, dict) and (value.get("role") == "function" or value.get("function_call")):
        field = "role" if value.get("role") == "function" else "function_call"
        raise _field_error(field, "functions are tools now: send tool_calls, and results with the role tool")
    return without_unknown_nulls(value, MessageFields.__annotations__.keys())


def _check_tool_fields(fields: MessageFields) -> MessageFields:
    """Check the fields that belong to roles. They are rare, so this costs a look at three of them."""
    role, content = fields["role"], fields.get("content")
    calls, call_id = fields.get("tool_calls"), fields.get("tool_call_id")
    if content is not None and calls is None and call_id is None and role != "tool":
        return fields
    if calls and role != "assistant":
        raise _field_error("tool_calls", "only the assistant calls tools")
    if call_id is not None and role != "tool":
        raise _field_error("tool_call_id", "only a message with the role tool has one")
    if call_id is None and role == "tool":
        raise _field_error("tool_call_id", "name the call whose result this is")
    if content is None and not calls:
        raise _field_error("content", "send text; only an assistant that calls tools needs none")
    return fields


def _field_error(field: str, words: str) -> PydanticCustomError:
    return PydanticCustomError("message_field", "{words}", {"field": field, "words": words})


Message = Annotated[MessageFields, BeforeValidator(_ask_for_known_fields), AfterValidator(_check_tool_fields)]


def text_of(message: MessageFields) -> str | None:
    """The content, its parts joined; None: the message only calls tools."""
    content = message.get("content")
    return content if isinstance(content, str | None) else "".join(part.text for part in content)


def _refuse_functions(value: Any) -> Any:
    if value is not None:
        raise ValueError("replaced by tools and tool_choice: send those")
    return value


NoFunctions = Annotated[None, BeforeValidator(_refuse_functions)]


VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Document = Annotated[dict[Annotated[str, Field(max_length=64)], str], Mapping(max_length=16)]


class ChatHonoured(HonouredFields, PromptCacheFields, ToolFields):
    """Fields of a chat with an effect."""

    messages: Annotated[list[Message], Field(min_length=1), FirstFault(), AtMostMaxMessages]
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Annotated[dict[VariableName, Any], Mapping(max_length=64)] | None = None
    documents: Annotated[list[Document], FirstFault()] | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class ChatNeutral(NeutralFields):
    """Fields of a chat that only their neutral value may take."""

    store: Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"const": False})] | None = None
    echo: Literal[False] | None = None
    add_special_tokens: Literal[False] | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1), FirstFault()] | None = (
        None
    )
    reasoning_effort: NoReasoningEffort | None = None
    audio: None = None
    functions: NoFunctions = None
    function_call: NoFunctions = None
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


class ReplyFunction(ResponseBody):
    """Name and arguments of a call, the arguments as the model wrote them."""

    name: str
    arguments: str


class ReplyToolCall(ResponseBody):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: ReplyFunction


class ReplyMessage(ResponseBody):
    """The reply. content: null if the reply only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ReplyToolCall] | None = None


class ChatChoice(ResponseBody):
    """One reply and how it ended."""

    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | int | None
    token_ids: list[int] | None = None


class DeltaFunction(ResponseBody):
    """The name, whole, with the first chunk of a call; then the pieces of its arguments."""

    name: str | None = None
    arguments: str


class DeltaToolCall(ResponseBody):
    """The part that a chunk adds to a call. id and type: of its first chunk."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: DeltaFunction


class Delta(ResponseBody):
    """The part that a chunk adds; the role comes first, once."""

    role: Literal["assistant"] | None = None
    # Left out of the chunk that only ends a reply.
    content: str | None = None
    tool_calls: list[DeltaToolCall] | None = None


class ChatChunkChoice(ResponseBody):
    """A piece of one reply; the last has a finish reason."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


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
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class ChatChunk(ChatCommon):
    """One event of a stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
