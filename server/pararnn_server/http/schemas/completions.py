"""POST /v1/completions."""

from __future__ import annotations

from typing import ClassVar, Literal

from pararnn_server.http.schemas.base import Examples, Metadata, Prompt, ResponseBody
from pararnn_server.http.schemas.generation import HonouredFields, RecordedFields, TopLogprobs
from pararnn_server.http.schemas.neutral import CompletionNeutral
from pararnn_server.http.schemas.prompt_logprobs import PromptLogprobs
from pararnn_server.http.schemas.usage import SessionStamp, Usage


class CompletionHonoured(HonouredFields):
    """Fields of a completion with an effect; `prompt` may be left out only to continue a session."""

    prompt: Prompt | None = None
    logprobs: TopLogprobs | None = None
    echo: bool | None = None


class CompletionRequest(CompletionHonoured, RecordedFields, CompletionNeutral):
    """Body of POST /v1/completions."""

    EXAMPLES: ClassVar[Examples] = {
        "complete": {"prompt": "def fibonacci(n):", "max_tokens": 16, "temperature": 0},
        "stream": {"prompt": "import os\n", "max_tokens": 8, "stream": True},
        "log-probabilities": {"prompt": "import os\n", "max_tokens": 4, "logprobs": 2, "echo": True},
        "stop": {"prompt": "def area(width, height):", "max_tokens": 16, "stop": ["\n\n"], "seed": 7},
    }


class CompletionLogprobs(ResponseBody):
    """Four lists of equal length, one entry per token; without context a token has null."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(ResponseBody):
    """One reply."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "cancelled"]
    stop_reason: str | int | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class CompletionChunkChoice(ResponseBody):
    """A piece of one reply; the last has a finish reason."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length", "cancelled"] | None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class CompletionCommon(ResponseBody):
    """Fields that whole answers and chunks share. `session` is there if the request named one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    session: SessionStamp | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Metadata | None = None
    prompt_cache_key: str | None = None


class CompletionResponse(CompletionCommon):
    """The whole answer."""

    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunk(CompletionCommon):
    """One event of a stream."""

    choices: list[CompletionChunkChoice]
    usage: Usage | None = None
