"""Wishes about the state cache, in OpenAI's names."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import CacheTtl, RequestBody


class PromptCacheOptions(RequestBody):
    """mode explicit: only marked states are kept; without a mark none is kept or looked up.

    ttl: of marks that have none.
    """

    mode: Literal["implicit", "explicit"] | None = None
    ttl: CacheTtl | None = None


class PromptCacheFields(RequestBody):
    """Fields of requests whose messages may carry marks."""

    prompt_cache_options: PromptCacheOptions | None = None
