"""Feeding a session without generating: a generation of no tokens, answered with the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from pararnn_server.engine.generation import Generation
from pararnn_server.engine.request import Failed, Finished, TokenUsage
from pararnn_server.errors import Conflict
from pararnn_server.http.answer import Answer
from pararnn_server.http.formats.base import usage_body
from pararnn_server.http.formats.json_parts import nothing_more
from pararnn_server.sessions.session import SessionInfo


class AppendAnswer(Answer):
    """The session after the turn, and what the turn took."""

    async def _write(self, scope: Scope, send: Send) -> None:
        session, usage = await self._committed()
        body = session_body(session) | {"usage": usage_body(usage)}
        self._settle(scope)
        await JSONResponse(body)(scope, nothing_more, send)

    async def _committed(self) -> tuple[SessionInfo, TokenUsage]:
        """Wait for the commit. Raises the error of a turn that failed."""
        while True:
            for _, output in await self._generation.outputs():
                if isinstance(output, Failed):
                    raise output.error
                if isinstance(output, Finished):
                    if output.session is None:
                        message = "It was cancelled before its end; nothing of it is kept."
                        raise Conflict(message, code="cancelled")
                    return output.session, output.usage


class FilledSessionAnswer(AppendAnswer):
    """A session created with its first turn.

    undo: called if that turn comes to nothing, whatever the reason.
    """

    def __init__(self, generation: Generation, undo: Callable[[], None]) -> None:
        super().__init__(generation)
        self._undo = undo
        self._is_filled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, or undo the session. Raises ServerError while no header has left."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A client that left while it was filled never learned the id.
            if not self._is_filled:
                self._undo()

    async def _write(self, scope: Scope, send: Send) -> None:
        session, _ = await self._committed()
        # The turn is committed: from here on a lost client must not delete it.
        self._is_filled = True
        self._settle(scope)
        await JSONResponse(session_body(session), 201)(scope, nothing_more, send)


def session_body(info: SessionInfo) -> dict[str, Any]:
    """Return the fields of the schema `SessionBody`."""
    return asdict(info) | {"metadata": dict(info.metadata)}
