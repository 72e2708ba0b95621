"""A true /openapi.json: the bodies that routes read themselves, with examples, and every status they send.

Schemas are those of the models that routes declare. A status of 422 does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pararnn_server.errors import HeadTooLarge, Unavailable
from pararnn_server.http.formats.message_error import OVERLOADED_STATUS
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.http.schemas.messages import MessageError

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
    OVERLOADED_STATUS: "Loading or draining",
}
ALWAYS = (400, 401, 500)
READING = (*ALWAYS, 429, 503)
WITH_BODY = (*READING, 404, 408, 413, 415)
IN_SESSION = (404, 410)
GENERATING = (*WITH_BODY, 409, 410, 504)
WRITING = (*WITH_BODY, 409, 410)
_BEARER = "key"
_BEARER_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the server, or the admin key for /metrics. A server without keys takes none.",
}
_FILE: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


Answer: TypeAlias = type[BaseModel] | tuple[type[BaseModel], ...] | None
"""The model of an answer, or one for each kind of client; None: plain text."""


def documented(
    answer: Answer,
    errors: Sequence[int],
    *,
    body: type[RequestBody] | None = None,
    events: Sequence[type[BaseModel]] = (),
    error: type[BaseModel] = ErrorBody,
    status: int = 200,
    file_body: bool = False,
    file_answer: bool = False,
) -> dict[str, Any]:
    """Arguments of a route's decorator. events: what those of a stream may hold.

    error: the body of every error.
    file_body, file_answer: an exported session is taken or given, instead of `body` and `answer` or beside.
    """
    answers = answer if isinstance(answer, tuple) else () if answer is None else (answer,)
    content = _content(*answers) if answers else {}
    if file_answer:
        content |= _FILE
    if events:
        content |= _content(*events, media_type="text/event-stream")
    responses: dict[int, Any] = {status: {"description": "Success", "content": content}}
    responses |= _refusals(errors, error)
    described: dict[str, Any] = {
        "responses": responses,
        "status_code": status,
        "response_model": None,
        "response_class": _response_class(answer, file_answer),
    }
    taken = ({} if body is None else _content_with_examples(body)) | (_FILE if file_body else {})
    extra: dict[str, Any] = {}
    if taken:
        extra["requestBody"] = {"required": True, "content": taken}
    # An empty list overrides the document's own: no key is needed here.
    if 401 not in errors:
        extra["security"] = []
    return described | {"openapi_extra": extra}


def _refusals(errors: Sequence[int], error: type[BaseModel]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each status of an error with its description."""
    # Any request may have a head that is too large.
    for code in sorted({*errors, HeadTooLarge.status}):
        # The head is refused before anything is known of the route.
        shape = ErrorBody if code == HeadTooLarge.status else error
        if error is MessageError and code == Unavailable.status:
            code = OVERLOADED_STATUS
        yield code, {"description": _MEANINGS[code], "content": _content(shape)}


def _response_class(answer: Answer, file_answer: bool) -> type[Response]:
    if file_answer:
        return Response
    return PlainTextResponse if answer is None else JSONResponse


def describe(app: FastAPI, routers: Iterable[APIRouter]) -> dict[str, Any]:
    """Return the document of an application that has these routers, whose routes are `documented`."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    # FastAPI adds an error of its own to routes with parameters; ours answers those with a 400.
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    models = declared_models(routers)
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation" if issubclass(model, RequestBody) else "serialization") for model in models
    ]
    _, definitions = models_json_schema(inputs, ref_template=_REF)
    document["components"] = {"schemas": definitions["$defs"], "securitySchemes": {_BEARER: _BEARER_SCHEME}}
    document["security"] = [{_BEARER: []}]
    return document


def declared_models(routers: Iterable[APIRouter]) -> list[type[BaseModel]]:
    """Return every model that a route names as its body, its answer or an event, by name."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    found = {model for route in routes for model in _models_in([route.responses, route.openapi_extra])}
    return sorted(found, key=lambda model: model.__name__)


def _models_in(value: Any) -> Iterator[type[BaseModel]]:
    if isinstance(value, _Reference):
        yield value.model
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _models_in(part)


def rendered(app: FastAPI) -> bytes:
    """The document as JSON, made once: who asks for it needs no key, and may never read it."""
    if not hasattr(app.state, "openapi_json"):
        app.state.openapi_json = json.dumps(app.openapi(), separators=(",", ":")).encode()
    text = app.state.openapi_json
    assert isinstance(text, bytes)
    return text


class _Reference(dict[str, str]):
    """A reference to the schema of a model, from which `describe` finds the model."""

    def __init__(self, model: type[BaseModel]) -> None:
        super().__init__({"$ref": _REF.format(model=model.__name__)})
        self.model = model


def _content(*models: type[BaseModel], media_type: str = "application/json") -> dict[str, Any]:
    kinds = [_Reference(model) for model in models]
    return {media_type: {"schema": {"anyOf": kinds} if len(kinds) > 1 else kinds[0]}}


def _content_with_examples(body: type[RequestBody]) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in body.EXAMPLES.items()}
    return {"application/json": {"schema": _Reference(body), "examples": examples}}
