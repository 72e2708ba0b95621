"""The context of a request: what each step from its body to its answer needs, found once."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.access.owner import Owner
from pararnn_server.concurrency.patience import in_time
from pararnn_server.engine.recorded_reply import RecordedReply
from pararnn_server.errors import BadRequest
from pararnn_server.http.request_state import owner_of
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import Service, service_of
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.settings.server_settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SessionView:
    """The session a request names, as it stood when its prompt was read.

    expected_turn: the client's; or, for an empty session, the turn at which it was seen to be empty, so that
        what opens a context (a BOS, a system message) never lands inside one.
    repeated: what the request was answered before; its prompt is not read again.
    tools: digest of the tools that the session has read.
    """

    is_empty: bool = True
    expected_turn: int | None = None
    idempotency_key: IdempotencyKey | None = None
    repeated: RecordedReply | None = None
    tools: str = ""


_FEEDING = SamplingParams(max_tokens=0, seed=0)
_NO_SESSION = SessionView()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One request, after its body was read.

    model: the one that the body or the session names, else the default. owner: of what the request touches.
    deadline: time.monotonic() at which the request fails, the reading of its prompt included.
    params: of requests that generate; others only feed.
    """

    request: Request
    service: Service
    model: ServedModel
    owner: Owner
    deadline: float
    params: SamplingParams = _FEEDING
    session: SessionView = _NO_SESSION

    @property
    def settings(self) -> Settings:
        """Those of the server."""
        return self.service.settings

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of the work. Raises Timeout at the deadline, ClientClosed if the client left."""
        return await in_time(self.request, self.deadline, work)


def request_context(
    request: Request, model: str | None = None, timeout: float | None = None
) -> RequestContext:
    """Return the context of a request that names a model, or none. Raises NotFound or BadRequest."""
    return _context(request, service_of(request).models.get(model), timeout)


async def session_context(request: Request, session_id: str) -> RequestContext:
    """Return the context of a request that names a session alone. Raises NotFound or Expired."""
    # The body may not be read yet, so its timeout is not known.
    return _context(request, await service_of(request).models.get_for(session_id, owner_of(request)), None)


def _context(request: Request, model: ServedModel, timeout: float | None) -> RequestContext:
    service = service_of(request)
    return RequestContext(
        request=request,
        service=service,
        model=model,
        owner=owner_of(request),
        deadline=deadline(timeout, service.settings),
    )


def deadline(timeout: float | None, settings: Settings) -> float:
    """Return it on the monotonic clock. Raises BadRequest for more than the server's own limit."""
    limit = settings.request_timeout_seconds
    if timeout is not None and timeout > limit:
        raise BadRequest(f"timeout: at most {limit:g} seconds.", param="timeout")
    # Monotonic: a clock that is set must not end requests.
    return time.monotonic() + (limit if timeout is None else timeout)
