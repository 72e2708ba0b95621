"""GET /v1/models."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import ResponseBody


class Model(ResponseBody):
    """The model that is served. root: the first of its names. max_model_len null: no context limit."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: None
    state_bytes: int


class ModelList(ResponseBody):
    """List of all models."""

    object: Literal["list"]
    data: list[Model]
