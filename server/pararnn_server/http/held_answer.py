"""Answers that wait in memory for their readers: counted like bodies, made off the loop, sent in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pararnn_server.http.bodies import hold_bytes, off_loop
from pararnn_server.http.formats.json_parts import PART_BYTES


async def held_answer(
    request: Request,
    num_bytes: int,
    content_of: Callable[[], bytes],
    *,
    media_type: str | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer whose bytes count in the budget of bodies until its reader has taken them.

    num_bytes: about how many there will be. content_of: makes them. Raises TooManyRequests.
    """
    # Before the answer is made, so that a full budget refuses it at no cost.
    hold_bytes(request, num_bytes)
    content = await off_loop(request, content_of)
    # The estimate may have been too low, such as one that counts characters.
    hold_bytes(request, len(content))
    return _InParts(content, media_type=media_type, headers=headers)


class _InParts(Response):
    """A reader that takes nothing makes it wait before the last part, so the request has not ended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PART_BYTES):
            part = self.body[start : start + PART_BYTES]
            # In parts, because the transport would take a whole body at once and the request would end.
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
