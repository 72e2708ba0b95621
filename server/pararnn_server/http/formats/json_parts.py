"""JSON texts in parts, so that a large one is neither held twice nor written in one go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from starlette.responses import Response
from starlette.types import Scope, Send

PART_BYTES = 1 << 16
BATCH = 16


def json_list(values: Iterable[Any]) -> Iterator[str]:
    """Yield a list, a few values at a time. Raises ValueError for what JSON cannot say."""
    separator, rest = "[", iter(values)
    while batch := list(islice(rest, BATCH)):
        yield separator + json.dumps(batch, separators=(",", ":"), allow_nan=False)[1:-1]
        separator = ","
    yield "[]" if separator == "[" else "]"


def json_text(texts: Iterable[str]) -> Iterator[str]:
    """Yield the string that the texts make together."""
    yield '"'
    for text in texts:
        yield quoted(text)[1:-1]
    yield '"'


def filled(parts: Iterable[str], size: int = PART_BYTES) -> Iterator[bytes]:
    """Join ASCII texts to parts of at least `size` bytes, but for the last."""
    held: list[str] = []
    length = 0
    for part in parts:
        if not part:
            continue
        held.append(part)
        length += len(part)
        if length >= size:
            yield "".join(held).encode()
            held.clear()
            length = 0
    if held:
        yield "".join(held).encode()


async def send_json(parts: Iterable[str], scope: Scope, send: Send) -> None:
    """Send a whole answer. One of several parts goes without a length, and others run between two parts."""
    body = filled(parts)
    first = next(body, b"")
    second = next(body, None)
    if second is None:
        await Response(first, media_type="application/json")(scope, nothing_more, send)
        return
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": first, "more_body": True})
    while second is not None:
        await send({"type": "http.response.body", "body": second, "more_body": True})
        # A reader that keeps up never makes `send` wait.
        await asyncio.sleep(0)
        second = next(body, None)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class JsonAnswer(Response):
    """A JSON answer in parts."""

    def __init__(self, parts: Iterable[str]) -> None:
        super().__init__()
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Send it."""
        await send_json(self._parts, scope, send)


async def nothing_more() -> dict[str, Any]:
    """Receive for responses that have nothing to wait for."""
    return {"type": "http.disconnect"}
