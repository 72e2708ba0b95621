"""Sessions named in a path: looked up before any of the body is read."""

from __future__ import annotations

from starlette.requests import Request

from pararnn_server.errors import Conflict
from pararnn_server.http.idempotency import HEADER
from pararnn_server.http.request_context import RequestContext, session_context
from pararnn_server.sessions import turns


async def session_exists(request: Request, session_id: str) -> RequestContext:
    """Return the context of a request for a session that there is. Raises NotFound or Expired."""
    context = await session_context(request, session_id)
    # Asked only for its errors: with one model `session_context` looks nothing up.
    await context.model.ask(turns.running_request, session_id, context.owner)
    return context


async def session_writable(request: Request, session_id: str) -> RequestContext:
    """Return the context of a request that writes to a session.

    Raises NotFound, Expired, or Conflict while another request writes to it.
    """
    context = await session_context(request, session_id)
    running = await context.model.ask(turns.running_request, session_id, context.owner)
    # A write that is sent again is answered again even while the next one runs.
    if running is not None and HEADER not in request.headers:
        raise Conflict("the session is busy with another request", param="session_id")
    return context
