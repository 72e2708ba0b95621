"""Answers of /v1/responses."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import (
    EmptyList,
    Metadata,
    ResponseBody,
)
from pararnn_server.http.schemas.response_tools import (
    FunctionCall,
    GivenAllowedTools,
    GivenName,
    GivenTool,
    StoredCallOutput,
)
from pararnn_server.http.schemas.structured import TextFormat

Status = Literal["in_progress", "completed", "incomplete", "failed"]


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
