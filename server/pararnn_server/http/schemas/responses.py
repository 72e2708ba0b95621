"""Requests to /v1/responses."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from pararnn_server.http.schemas.base import (
    EmptyObject,
    Examples,
    RequestBody,
)
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.generation import RecordedFields, SamplingFields
from pararnn_server.http.schemas.neutral import NeutralFields, NoReasoningEffort
from pararnn_server.http.schemas.prompt_cache import PromptCacheFields
from pararnn_server.http.schemas.response_input import Input
from pararnn_server.http.schemas.response_tools import (
    FlatToolFields,
)
from pararnn_server.http.schemas.structured import TextFormat

ResponseId = Annotated[str, Field(min_length=1, max_length=64)]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("must be false: responses are made while the client waits")
    return value


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
