"""Errors in the shape of Anthropic's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pararnn_server.errors import ServerError, Unavailable

OVERLOADED_STATUS: Final = 529
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}
# Fields of the chat that a message becomes, and the fields of the message. The engine knows only the first.
_FIELDS: Final = (
    (re.compile(r"tools\.(\d+)\.function\.parameters"), r"tools.\1.input_schema"),
    (re.compile(r"response_format\.json_schema\.schema"), "output_config.format.schema"),
)


def message_status(error: ServerError) -> int:
    """Return the status that Anthropic's clients know the error by."""
    return OVERLOADED_STATUS if error.status == Unavailable.status else error.status


def message_error(error: ServerError, request_id: str) -> dict[str, Any]:
    """Return the fields of the schema `MessageError`."""
    param = None if error.param is None else _own_field(error.param)
    fault = {
        "type": _TYPES.get(message_status(error), "invalid_request_error"),
        "message": error.message.replace(error.param, param, 1) if error.param and param else error.message,
        # Anthropic's member for what a program may compare.
        "details": {"error_code": error.code, "param": param},
    }
    return {"type": "error", "error": fault, "request_id": request_id}


def _own_field(param: str) -> str:
    """Return the field of the message that became this field of a chat."""
    for pattern, name in _FIELDS:
        param = pattern.sub(name, param)
    return param
