"""Server-sent events: the bytes around the data."""

from __future__ import annotations

import json
from typing import Final

from pararnn_server.errors import ServerError

DONE: Final = b"data: [DONE]\n\n"
# A comment to every client; proxies close connections that are silent for long.
PING: Final = b": ping\n\n"
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # A proxy must not answer the next request with these events.
    (b"cache-control", b"no-cache"),
    # nginx would collect events in a buffer otherwise.
    (b"x-accel-buffering", b"no"),
)


def error_event(error: ServerError) -> bytes:
    """A failure after the headers left; the last event of its stream."""
    return b"data: " + json.dumps(error.body(), separators=(",", ":")).encode() + b"\n\n"
