"""Feeding a session without generating: a generation of no tokens, answered with the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pararnn_server.answer import Answer, nothing_more
from pararnn_server.formats.base import usage_body
from pararnn_server.generation import Generation
from pararnn_server.request import Failed, Finished
from pararnn_server.sessions.session import SessionInfo


class AppendAnswer(Answer):
    """The session after the turn and the turn's usage.

    undo: called if the turn comes to nothing, whatever the reason.
    """

    def __init__(self, generation: Generation, status: int, undo: Callable[[], None]) -> None:
        super().__init__(generation)
        self.status_code = status
        self._undo = undo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ServerError while no header has left."""
        self._kept = False
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._kept:
                self._undo()

    async def _write(self, scope: Scope, send: Send) -> None:
        body: Mapping[str, Any] = {}
        while not self._generation.done:
            for _, output in await self._generation.outputs():
                if isinstance(output, Failed):
                    raise output.error
                if isinstance(output, Finished) and output.session is not None:
                    self._kept = True
                    body = {**session_body(output.session), "usage": usage_body(output.usage)}
        await JSONResponse(body, self.status_code)(scope, nothing_more, send)


def session_body(info: SessionInfo) -> dict[str, Any]:
    """As the schema `SessionBody` says."""
    return asdict(info) | {"metadata": dict(info.metadata)}
