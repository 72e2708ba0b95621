"""/v1/responses."""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import (
    AtMostMaxMessages,
    EmptyList,
    EmptyObject,
    Examples,
    Metadata,
    PromptCacheBreakpoint,
    RequestBody,
    ResponseBody,
)
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.generation import RecordedFields, SamplingFields
from pararnn_server.http.schemas.neutral import NeutralFields, NoReasoningEffort
from pararnn_server.http.schemas.prompt_cache import PromptCacheFields
from pararnn_server.http.schemas.response_items import TextMark
from pararnn_server.http.schemas.response_tools import (
    FlatToolFields,
    FunctionCall,
    FunctionCallItem,
    FunctionCallOutputItem,
    GivenAllowedTools,
    GivenName,
    GivenTool,
    StoredCallOutput,
)
from pararnn_server.http.schemas.structured import TextFormat

ResponseId = Annotated[str, Field(min_length=1, max_length=64)]
Status = Literal["in_progress", "completed", "incomplete", "failed"]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("must be false: responses are made while the client waits")
    return value


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


class TextOptions(RequestBody):
    """Options of the reply's text."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(RequestBody):
    """These models do not reason apart from their reply, so there is nothing to summarise."""

    effort: NoReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseContext(FlatToolFields):
    """Fields that make up what the model reads."""

    input: Input
    instructions: str | None = None
    previous_response_id: ResponseId | None = None


class ContextManagement(RequestBody):
    """compact_threshold: tokens of the conversation from which on its state is an item of the output."""

    type: Literal["compaction"]
    compact_threshold: Annotated[int, Field(ge=0)] | None = None


class ResponseHonoured(ResponseContext, SamplingFields, PromptCacheFields):
    """Fields of a response with an effect."""

    store: bool | None = None
    context_management: Annotated[list[ContextManagement], Field(max_length=1), FirstFault()] | None = None
    text: TextOptions | None = None


# Parts of items that these models never write: there is nothing to include.
NeverWritten = Literal[
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
    "file_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "message.input_image.image_url",
]


class ResponseNeutral(NeutralFields):
    """Fields of a response that only their neutral value may take."""

    chat_template_kwargs: EmptyObject | None = None
    return_token_ids: Literal[False] | None = None
    return_tokens_as_token_ids: Literal[False] | None = None
    background: Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"const": False})] | None = None
    include: Annotated[list[NeverWritten], Field(max_length=16), FirstFault()] | None = None
    max_tool_calls: None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    conversation: None = None
    prompt: None = None
    stream_options: None = None


class ResponseRequest(ResponseHonoured, RecordedFields, ResponseNeutral):
    """Body of POST /v1/responses."""

    EXAMPLES: ClassVar[Examples] = {
        "text": {"input": "What does os.walk do?", "instructions": "Be brief.", "max_output_tokens": 16},
        "not stored": {
            "input": [{"role": "user", "content": "What does os.walk do?"}],
            "max_output_tokens": 16,
            "store": False,
        },
    }


class InputTokensRequest(ResponseContext):
    """Body of POST /v1/responses/input_tokens: the fields of a response that say what the model reads."""

    EXAMPLES: ClassVar[Examples] = {"text": {"input": "What does os.walk do?", "instructions": "Be brief."}}

    model: Annotated[str, Field(max_length=256)] | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    conversation: None = None


class CompactRequest(RecordedFields, FlatToolFields, PromptCacheFields):
    """Body of POST /v1/responses/compact. Fields are those of a response; one of the first two is needed."""

    EXAMPLES: ClassVar[Examples] = {
        "a conversation": {
            "input": [
                {"role": "user", "content": "What does os.walk do?"},
                {"role": "assistant", "content": "It visits folders."},
            ],
        }
    }

    input: Input | None = None
    previous_response_id: ResponseId | None = None
    instructions: str | None = None
    model: Annotated[str, Field(max_length=256)] | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None


class InputTokens(ResponseBody):
    """The ids of the whole conversation that a request would have the model read or resume."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class OutputText(ResponseBody):
    """Text of a reply."""

    type: Literal["output_text"]
    text: str
    annotations: EmptyList
    logprobs: EmptyList


class OutputMessage(ResponseBody):
    """A reply."""

    id: str
    type: Literal["message"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class IncompleteDetails(ResponseBody):
    """Why a reply ended before it was done."""

    reason: Literal["max_output_tokens"]


class ResponseError(ResponseBody):
    """The error of a response."""

    code: str
    message: str


class InputTokensDetails(ResponseBody):
    """cached_tokens: ids of the conversation that a stored state made it unnecessary to read.
    cache_write_tokens: its other ids up to the last state that the request pins in the cache.
    """

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(ResponseBody):
    """These models do not reason apart from their reply."""

    reasoning_tokens: Literal[0]


class ResponseUsage(ResponseBody):
    """Measured. input_tokens counts the whole conversation, resumed or read."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Compaction(ResponseBody):
    """A conversation's state. Only a server with the secret opens it."""

    id: str
    type: Literal["compaction"]
    encrypted_content: str


class CompactedResponse(ResponseBody):
    """build_changed: another build or instruction set had a part in the state; it is left out otherwise."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[Compaction]
    usage: ResponseUsage
    build_changed: bool | None = None


class TextFormatOptions(ResponseBody):
    """The form of the reply, as the request asked for it."""

    format: TextFormat


class NoReasoning(ResponseBody):
    """None."""

    effort: None
    summary: None


class ModelResponse(ResponseBody):
    """One response. It is retrieved as it was first given.

    build_changed: another build or instruction set computed the compaction that it resumed.
    """

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    background: Literal[False]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage | FunctionCall | Compaction]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: NoReasoning
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: TextFormatOptions
    tool_choice: Literal["none", "auto", "required"] | GivenName | GivenAllowedTools
    tools: list[GivenTool]
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Metadata
    build_changed: bool | None = None


class ResponseEvent(ResponseBody):
    """An event of a stream: `type` says which, and which of the other fields it has."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: int
    response: ModelResponse | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputMessage | FunctionCall | Compaction | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: EmptyList | None = None


class StoredText(ResponseBody):
    """Text of an input item."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: EmptyList | None = None
    logprobs: EmptyList | None = None


class StoredItem(ResponseBody):
    """An input item."""

    id: str
    type: Literal["message"]
    status: Literal["completed"]
    role: Literal["user", "assistant", "system", "developer"]
    content: list[StoredText]


class InputItemList(ResponseBody):
    """A page of what a response was given, the newest first unless asked otherwise."""

    object: Literal["list"]
    data: list[StoredItem | FunctionCall | StoredCallOutput]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseDeleted(ResponseBody):
    """The response is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
