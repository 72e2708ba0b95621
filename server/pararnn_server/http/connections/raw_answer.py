"""Errors that no application writes: those of connections."""

from __future__ import annotations

import json
from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pararnn_server.errors import ServerError
from pararnn_server.http.request_id import REQUEST_ID


def raw_answer(error: ServerError, request_id: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The answer as bytes, in the one shape of every error. headers: of all answers of the server."""
    body = json.dumps(error.body(), separators=(",", ":")).encode()
    own = {
        **error.headers,
        REQUEST_ID: request_id,
        "content-type": "application/json",
        "content-length": str(len(body)),
        # What follows a refused head or body cannot be told apart from its rest.
        "connection": "close",
    }
    fields = [*headers, *((name.encode(), value.encode()) for name, value in own.items())]
    lines = [STATUS_LINE[error.status], *(b"%b: %b\r\n" % field for field in fields)]
    return b"".join([*lines, b"\r\n", body])
