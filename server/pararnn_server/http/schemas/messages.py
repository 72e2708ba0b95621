"""/v1/messages, in the shapes of Anthropic's API."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from pararnn_server.http.schemas.base import (
    STRICT,
    AtMostMaxMessages,
    Examples,
    RequestBody,
    ResponseBody,
    SessionId,
    StopString,
    without_unknown_nulls,
)
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.generation import SEED_LIMIT, Count, Share
from pararnn_server.http.schemas.message_blocks import CacheControl, GivenMessage, TextContent
from pararnn_server.http.schemas.message_tools import MessageToolChoice, MessageTools
from pararnn_server.http.schemas.structured import SchemaObject
from pararnn_server.http.schemas.usage import SessionStamp

_THINKS = ("enabled", "between_tools")


class Thinking(RequestBody):
    """These models do not think apart from their reply: they never do where they may choose."""

    type: Literal["disabled", "adaptive"]
    display: Literal["summarized", "omitted"] | None = None


def _refuse_thinking(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in _THINKS:
        message = "this model does not think apart from its reply; leave it out or send {'type': 'disabled'}"
        raise PydanticCustomError("no_thinking", message, {"field": "type"})
    return value


# A dictionary, because an attribute of a model cannot be called `schema`.
@with_config(STRICT)
class JsonOutput(TypedDict):
    """JSON that is valid by a schema."""

    type: Literal["json_schema"]
    schema: SchemaObject


def _ask_for_known_fields(value: Any) -> Any:
    return without_unknown_nulls(value, JsonOutput.__annotations__.keys())


def _refuse_thread(value: Any) -> Any:
    if value is not None:
        # The official client knows the code, and then sends the whole conversation.
        message = "this server keeps conversations as sessions: send all messages, or use session_id"
        raise PydanticCustomError("thread_unsupported_request", message)
    return value


class OutputConfig(RequestBody):
    """The form of the reply, any text without one. There is one effort."""

    effort: Literal["high"] | None = None
    format: Annotated[JsonOutput, BeforeValidator(_ask_for_known_fields)] | None = None


class MessageMetadata(RequestBody):
    """user_id: logged with the request."""

    user_id: Annotated[str, Field(max_length=512)] | None = None


class MessageContext(RequestBody):
    """Fields that make up what the model reads."""

    # Left out, the one model is meant, as on the other routes.
    model: Annotated[str, Field(max_length=256)] | None = None
    messages: Annotated[list[GivenMessage], Field(min_length=1), FirstFault(), AtMostMaxMessages]
    system: TextContent | None = None
    cache_control: CacheControl | None = None
    output_config: OutputConfig | None = None
    tool_choice: MessageToolChoice | None = None
    tools: MessageTools | None = None


class MessageHonoured(MessageContext):
    """Fields of a message with an effect. Those from `seed` on are not Anthropic's."""

    max_tokens: Count
    stop_sequences: Annotated[list[StopString], Field(max_length=16), FirstFault()] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0.0)] | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    session_id: SessionId | None = None
    expected_turn: Count | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None


class MessageRecorded(RequestBody):
    """Logged with the request, without any effect."""

    metadata: MessageMetadata | None = None


class CountNeutral(RequestBody):
    """Fields of a message and of its count that only their neutral value may take."""

    speed: Literal["standard"] | None = None
    thinking: Annotated[Thinking | None, BeforeValidator(_refuse_thinking)] = None
    thread: Annotated[None, BeforeValidator(_refuse_thread)] = None


class MessageNeutral(CountNeutral):
    """Fields of a message that only their neutral value may take."""

    service_tier: Literal["auto", "standard_only"] | None = None


_HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "What does os.walk do?"}]}


class MessageRequest(MessageHonoured, MessageRecorded, MessageNeutral):
    """Body of POST /v1/messages."""

    EXAMPLES: ClassVar[Examples] = {
        "message": {**_HELLO, "max_tokens": 16},
        "reply that is begun": {
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": "What does os.walk do?"},
                {"role": "assistant", "content": "It"},
            ],
            "max_tokens": 16,
            "temperature": 0,
        },
    }


class MessageCountRequest(MessageContext, CountNeutral):
    """Body of POST /v1/messages/count_tokens: the fields of a message that say what the model reads."""

    EXAMPLES: ClassVar[Examples] = {"message": _HELLO}


class MessageCount(ResponseBody):
    """The ids that a message with these fields would have the model read, cached or not."""

    input_tokens: int


class ReplyText(ResponseBody):
    """Text of the reply."""

    type: Literal["text"]
    text: str


class ReplyCall(ResponseBody):
    """A call of a tool. input: of one that was cut, the part that came."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


ReplyBlock = Annotated[ReplyText | ReplyCall, Field(discriminator="type")]


class MessageUsage(ResponseBody):
    """Measured. The ids of the prompt are the sum of the three counts of input tokens.

    cache_read_input_tokens: ids that a stored state made it unnecessary to read.
    """

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "cancelled"]


class MessageResponse(ResponseBody):
    """The whole answer. `session` is there if the request named one."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[ReplyBlock]
    model: str
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
    session: SessionStamp | None = None


class MessageDelta(ResponseBody):
    """A part of the block, or the end of the message."""

    type: Literal["text_delta", "input_json_delta"] | None = None
    text: str | None = None
    partial_json: str | None = None
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None


class MessageFaultDetails(ResponseBody):
    """param names the field at fault, dotted for nested ones, or is null."""

    error_code: str
    param: str | None


class MessageFault(ResponseBody):
    """The error itself."""

    type: str
    message: str
    details: MessageFaultDetails


class MessageError(ResponseBody):
    """Every answer that is no success."""

    type: Literal["error"]
    error: MessageFault
    request_id: str


class MessageEvent(ResponseBody):
    """An event of a stream: `type` says which, and which of the other fields it has."""

    type: Literal[
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ]
    message: MessageResponse | None = None
    index: int | None = None
    content_block: ReplyBlock | None = None
    delta: MessageDelta | None = None
    usage: MessageUsage | None = None
    session: SessionStamp | None = None
    error: MessageFault | None = None
    request_id: str | None = None
