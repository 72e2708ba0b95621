"""A true /openapi.json: the bodies that routes read themselves, every status they send, and no 422."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pararnn_server.http.schemas.admin import Health, Ready
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.http.schemas.chat import ChatChunk, ChatRequest, ChatResponse
from pararnn_server.http.schemas.completions import CompletionChunk, CompletionRequest, CompletionResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.http.schemas.models import Model, ModelList
from pararnn_server.http.schemas.responses import (
    InputItemList,
    InputTokens,
    InputTokensRequest,
    ModelResponse,
    ResponseDeleted,
    ResponseEvent,
    ResponseRequest,
)
from pararnn_server.http.schemas.sessions import (
    AppendResponse,
    SessionAppend,
    SessionBody,
    SessionCreate,
    SessionDeleted,
    SessionDetail,
    SessionFork,
    SessionList,
    SessionPatch,
    SessionRollback,
    SnapshotCreate,
)
from pararnn_server.http.schemas.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)

_MODELS: tuple[type[BaseModel], ...] = (
    *(AppendResponse, ChatChunk, ChatRequest, ChatResponse, CompletionChunk, CompletionRequest),
    *(CompletionResponse, DetokenizeRequest, DetokenizeResponse, ErrorBody, Health, Model, ModelList, Ready),
    *(
        InputItemList,
        InputTokens,
        InputTokensRequest,
        ModelResponse,
        ResponseDeleted,
        ResponseEvent,
        ResponseRequest,
    ),
    *(SessionAppend, SessionBody, SessionCreate, SessionDeleted, SessionDetail, SessionList),
    *(SessionFork, SessionPatch, SessionRollback, SnapshotCreate),
    *(TokenizeRequest, TokenizeResponse, TokenizerInfo),
)
_REF = "#/components/schemas/{model}"
_MEANINGS = {
    400: "A field is at fault; `param` names it",
    401: "No key, or one that is not known",
    404: "No such model or session for this key",
    408: "The body did not come in time",
    409: "The session is busy, at another turn, or of another model",
    410: "The session has expired",
    413: "The body is too large",
    415: "The body is not of a type that is taken here",
    429: "The queue is full, the wait for a slot was too long, or a quota is used up; see Retry-After",
    431: "The URL and headers are too large",
    500: "A fault of the server",
    503: "Loading or draining",
    504: "The request outlived its timeout",
}
ALWAYS = (400, 401, 500)
READING = (*ALWAYS, 429, 503)
WITH_BODY = (*READING, 404, 408, 413, 415)
IN_SESSION = (404, 410)
GENERATING = (*WITH_BODY, 409, 410, 504)
WRITING = (*WITH_BODY, 409, 410)
_FILE: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def documented(
    answer: type[BaseModel] | None,
    errors: Sequence[int],
    *,
    body: type[RequestBody] | None = None,
    events: Sequence[type[BaseModel]] = (),
    status: int = 200,
    file_body: bool = False,
    file_answer: bool = False,
) -> dict[str, Any]:
    """Arguments of a route's decorator. answer None: plain text. events: what those of a stream may hold.

    file_body, file_answer: an exported session is taken or given, instead of `body` and `answer` or beside.
    """
    content = {} if answer is None else _content(answer)
    if file_answer:
        content |= _FILE
    if events:
        kinds = [{"$ref": _REF.format(model=event.__name__)} for event in events]
        content |= {"text/event-stream": {"schema": {"anyOf": kinds} if len(kinds) > 1 else kinds[0]}}
    responses: dict[int, Any] = {status: {"description": "Success", "content": content}}
    for code in sorted({*errors, 431}):
        responses[code] = {"description": _MEANINGS[code], "content": _content(ErrorBody)}
    described: dict[str, Any] = {
        "responses": responses,
        "status_code": status,
        "response_model": None,
        "response_class": _response_class(answer, file_answer),
    }
    taken = ({} if body is None else _content(body)) | (_FILE if file_body else {})
    if taken:
        described["openapi_extra"] = {"requestBody": {"required": True, "content": taken}}
    return described


def _response_class(answer: type[BaseModel] | None, file_answer: bool) -> type[Response]:
    if file_answer:
        return Response
    return PlainTextResponse if answer is None else JSONResponse


def describe(app: FastAPI) -> dict[str, Any]:
    """The document. FastAPI adds its own error to routes with parameters; ours answers those with a 400."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation" if issubclass(model, RequestBody) else "serialization") for model in _MODELS
    ]
    _, definitions = models_json_schema(inputs, ref_template=_REF)
    schemas |= definitions["$defs"]
    return document


def rendered(app: FastAPI) -> bytes:
    """The document as JSON, made once: who asks for it needs no key, and may never read it."""
    if not hasattr(app.state, "openapi_json"):
        app.state.openapi_json = json.dumps(app.openapi(), separators=(",", ":")).encode()
    text = app.state.openapi_json
    assert isinstance(text, bytes)
    return text


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
