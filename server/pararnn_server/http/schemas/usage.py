"""Counts that answers carry, measured and never estimated."""

from __future__ import annotations

from pararnn_server.http.schemas.base import ResponseBody


class PromptTokensDetails(ResponseBody):
    """cached_tokens: ids of the prompt that a stored state made it unnecessary to feed.
    cache_write_tokens: its other ids up to the last state that the request pins in the cache.
    """

    cached_tokens: int
    cache_write_tokens: int


class Usage(ResponseBody):
    """Ids of all choices; the prompt of a session is what this request added."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class SessionStamp(ResponseBody):
    """The session as this turn left it."""

    id: str
    turn: int
    num_tokens: int
    state_bytes: int
