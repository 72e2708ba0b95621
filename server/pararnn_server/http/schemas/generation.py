"""Fields that completions and chat share, split as the published lists split them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pararnn_server.http.schemas.base import Metadata, RequestBody, SessionId, Stop, TokenId
from pararnn_server.http.schemas.first_fault import FirstFault, Mapping
from pararnn_server.http.schemas.structured import FormFields

SEED_LIMIT = 2**63
# JSON has only text as names; "07" and "7" would be one token twice.
TokenKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$")]
Bias = Annotated[float, Field(ge=-100.0, le=100.0)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
BadWord = Annotated[str, Field(min_length=1, max_length=256)]
RepetitionPenalty = Annotated[float, Field(ge=0.01, le=100.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]


class StreamOptions(RequestBody):
    """include_usage: a last chunk with usage and no choices. continuous_usage_stats: usage in each chunk."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(RequestBody):
    """Each changes the reply as its name says; null is the default."""

    model: Annotated[str, Field(max_length=256)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    max_output_tokens: Count | None = None
    # The name that llama.cpp has for max_tokens.
    n_predict: Annotated[int, Field(ge=-1)] | None = None
    min_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0.0)] | None = None
    top_p: Share | None = None
    # Both 0 and -1 mean off, because clients of different servers send either.
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Share | None = None
    repetition_penalty: RepetitionPenalty | None = None
    # The name that llama.cpp has for repetition_penalty.
    repeat_penalty: RepetitionPenalty | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Mapping(max_length=4096)] | None = None
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    stop: Stop | None = None
    bad_words: Annotated[list[BadWord], Field(max_length=256), FirstFault()] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=4096), FirstFault()] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    stream: bool | None = None
    ignore_eos: bool | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None


class HonouredFields(SamplingFields, FormFields):
    """Further fields of completions and chats."""

    n: Annotated[int, Field(ge=1)] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    prompt_logprobs: TopLogprobs | None = None
    stream_options: StreamOptions | None = None
    session_id: SessionId | None = None
    expected_turn: Count | None = None


class RecordedFields(RequestBody):
    """Logged with the request and echoed in the answer, without any effect."""

    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    metadata: Metadata | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
