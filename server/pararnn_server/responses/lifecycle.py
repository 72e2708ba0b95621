"""What becomes of a response's session: kept with what was said, or gone without a trace."""

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
from pararnn_server.http.schemas.response_items import Item
from pararnn_server.models.service import Serving
from pararnn_server.responses import records


@dataclass(slots=True)
class Keeper:
    """owner: as the store knows it. ttl_seconds: how long to keep the response; None: not at all."""

    serving: Serving
    response_id: str
    owner: Owner
    given: tuple[Item, ...]
    digest: str | None
    ttl_seconds: float | None
    is_kept: bool = False

    async def keep(self, body: Mapping[str, Any]) -> None:
        """Durable on return. Raises ServerError."""
        if self.ttl_seconds is not None:
            await self.serving.ask(
                records.keep,
                self.response_id,
                self.owner,
                body,
                self.given,
                self.digest,
                self.ttl_seconds,
            )
            self.is_kept = True

    def drop(self) -> None:
        """Unless it is kept. Does not wait."""
        if not self.is_kept:
            with suppress(ServerError):
                self.serving.sessions.ask(records.drop, self.response_id, self.owner)


class KeptAnswer(Response):
    """An answer whose session is dropped at its end, unless it was kept before."""

    def __init__(self, answer: Answer, keeper: Keeper) -> None:
        super().__init__()
        self._answer = answer
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ServerError while no header has left."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._keeper.drop()
