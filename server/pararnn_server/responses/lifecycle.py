"""The lifecycle of a response's session: it is kept with its document, or dropped without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pararnn_server.access.owner import Owner
from pararnn_server.errors import ServerError
from pararnn_server.http.answer import Answer
from pararnn_server.http.schemas.response_items import AnyItem
from pararnn_server.models.served_model import ServedModel
from pararnn_server.responses import records


@dataclass(slots=True)
class ResponseLifecycle:
    """Keep or drop the session of one response. ttl_seconds: its life; None: it is not kept.

    is_compacted: its input followed a compaction.
    """

    model: ServedModel
    response_id: str
    owner: Owner
    given: tuple[AnyItem, ...]
    digest: str | None
    ttl_seconds: float | None
    is_compacted: bool = False
    is_kept: bool = False

    async def keep(self, body: Mapping[str, Any]) -> None:
        """Keep the response; it is durable on return. Raises ServerError."""
        if self.ttl_seconds is not None:
            await self.model.ask(
                records.keep,
                self.response_id,
                self.owner,
                body,
                self.given,
                self.digest,
                self.ttl_seconds,
                self.is_compacted,
            )
            self.is_kept = True

    def drop(self) -> None:
        """Drop the session unless it is kept. Does not wait."""
        if not self.is_kept:
            # The store may be closing: the session then expires by itself.
            with suppress(ServerError):
                self.model.sessions.ask(records.drop, self.response_id, self.owner)


class KeptAnswer(Response):
    """An answer whose session is dropped at its end, unless it was kept before."""

    def __init__(self, answer: Answer, lifecycle: ResponseLifecycle) -> None:
        super().__init__()
        self._answer = answer
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, then drop its session. Raises ServerError while no header has left."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._lifecycle.drop()
