"""Errors as answers: in one shape, and in Anthropic's on the routes of its clients."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.types import Scope

from pararnn_server.errors import ServerError
from pararnn_server.http.formats.message_error import message_error, message_status
from pararnn_server.http.request_state import request_state

_MESSAGES = "/v1/messages"
VERSION_HEADER = "anthropic-version"


def error_response(error: ServerError, scope: Scope) -> JSONResponse:
    """Return the answer to a request that failed."""
    if is_of_messages(scope["path"]):
        body = message_error(error, request_state(scope).request_id)
        return JSONResponse(body, message_status(error), headers=error.headers)
    return JSONResponse(error.body(), error.status, headers=error.headers)


def is_of_messages(path: str) -> bool:
    """Return True for the paths that have Anthropic's errors, those where there is nothing included."""
    return path == _MESSAGES or path.startswith(f"{_MESSAGES}/")
