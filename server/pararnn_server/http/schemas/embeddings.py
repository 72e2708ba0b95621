"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pararnn_server.http.schemas.base import Examples, Prompt, RequestBody, ResponseBody


class EmbeddingsRequest(RequestBody):
    """Body of POST /v1/embeddings.

    dimensions: only that of the model. user: only logged.
    """

    EXAMPLES: ClassVar[Examples] = {
        "text": {"input": "def area(width, height):"},
        "several texts": {"input": ["import os", "import sys"], "encoding_format": "base64"},
    }

    input: Prompt
    model: Annotated[str, Field(max_length=256)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    timeout: Annotated[float, Field(gt=0.0)] | None = None


class Embedding(ResponseBody):
    """One input's vector of length 1: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(ResponseBody):
    """Ids of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(ResponseBody):
    """An embedding for each input, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
