"""Fields that are accepted only where they ask for nothing that is not done anyway.

Clients of other servers send them with every request, at the default of that server.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pararnn_server.http.schemas.base import RequestBody

Zero = Annotated[float, Field(ge=0.0, le=0.0)]
One = Annotated[float, Field(ge=1.0, le=1.0)]


def _refuse_effort(value: Any) -> Any:
    if isinstance(value, str) and value != "none":
        raise PydanticCustomError("no_reasoning", "this model has no reasoning; leave it out or send 'none'")
    return value


NoReasoningEffort = Annotated[Literal["none"], BeforeValidator(_refuse_effort)]


class NeutralFields(RequestBody):
    """Fields of all generating routes."""

    service_tier: Literal["auto", "default"] | None = None
    # A byte-level tokenizer writes no spaces between tokens, so that both values mean the same.
    spaces_between_special_tokens: bool | None = None
    use_beam_search: Literal[False] | None = None
    length_penalty: One | None = None
    typical_p: One | None = None
    top_a: Zero | None = None
    mirostat: Zero | None = None
    dynatemp_range: Zero | None = None
    dry_multiplier: Zero | None = None
    xtc_probability: Zero | None = None
    # The longest that states may be kept; none is kept for so long.
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    priority: Annotated[int, Field(ge=0, le=0)] | None = None
    cache_prompt: Literal[True] | None = None
    timings_per_token: Literal[False] | None = None


class CompletionNeutral(NeutralFields):
    """Fields of a completion."""

    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
    add_special_tokens: Literal[True] | None = None
