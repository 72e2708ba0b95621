"""Idempotency-Key: the header by which a client may send one write twice."""

from __future__ import annotations

import hashlib
import json
import re

from starlette.requests import Request

from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import off_loop
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.sessions.idempotency_key import IdempotencyKey

HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_FORM_ONLY = {"stream", "stream_options"}


async def idempotency_key_of(request: Request, body: RequestBody | bytes) -> IdempotencyKey | None:
    """Return the key; None without the header. A request is the same streamed or not. Raises BadRequest."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if _KEY.fullmatch(key) is None:
        message = "Idempotency-Key: send 1 to 255 visible ASCII characters."
        raise BadRequest(message, param="Idempotency-Key")
    return IdempotencyKey(
        key, await off_loop(request, _digest, f"{request.method} {request.url.path}\n", body)
    )


def _digest(opening: str, body: RequestBody | bytes) -> str:
    content = body if isinstance(body, bytes) else _canonical(body)
    digest = hashlib.sha256(opening.encode())
    digest.update(content)
    return digest.hexdigest()


def _canonical(body: RequestBody) -> bytes:
    # Of the parsed body: a client may write the same request with other spaces or order.
    fields = body.model_dump(exclude=_FORM_ONLY, exclude_none=True)
    # Sorted: metadata may come in another order when it is sent again.
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
