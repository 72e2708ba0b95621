"""GET /v1/models."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import ResponseBody


class Model(ResponseBody):
    """The model that is served. root: the first of its names. max_model_len null: no context limit.

    transformer_token_bytes: computed, of one token in the cache of a Transformer of this width and depth.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: None
    state_bytes: int
    transformer_token_bytes: int


class ModelList(ResponseBody):
    """List of all models."""

    object: Literal["list"]
    data: list[Model]


class ModelInfo(ResponseBody):
    """The model as Anthropic's clients read it. display_name: the first of its names."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int
    max_tokens: int


class ModelInfoList(ResponseBody):
    """Page of models as Anthropic's clients read it. first_id, last_id: null on an empty page."""

    data: list[ModelInfo]
    first_id: str | None
    last_id: str | None
    has_more: bool
