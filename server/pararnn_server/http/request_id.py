"""The id that every request has, in its log line and in its answer."""

from __future__ import annotations

import re
import secrets

REQUEST_ID = "x-request-id"
MESSAGE_REQUEST_ID = "request-id"
"""The header's name in answers to Anthropic's clients."""

_USABLE = re.compile(r"[\w.:/+=-]{1,128}")


def new_request_id() -> str:
    """Return an id for a request that brings none."""
    return f"req_{secrets.token_hex(16)}"


def usable_request_id(given: str) -> str:
    """Return the id that the client gave, or a new one if a log line cannot hold it."""
    # A line feed in an id would write a log line of its own.
    return given if _USABLE.fullmatch(given) else new_request_id()
