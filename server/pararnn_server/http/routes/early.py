"""Sessions that a request names in its path: looked up before any of its body is read."""

from __future__ import annotations

from starlette.requests import Request

from pararnn_server.errors import Conflict
from pararnn_server.http.idempotency import HEADER
from pararnn_server.http.request_state import owner_of
from pararnn_server.models.service import Serving
from pararnn_server.sessions import turns


async def check_exists(request: Request, session_id: str, serving: Serving) -> None:
    """Raises NotFound or Expired."""
    await serving.ask(turns.running_request, session_id, owner_of(request))


async def check_writable(request: Request, session_id: str, serving: Serving) -> None:
    """Raises NotFound, Expired, or Conflict while another request writes to the session."""
    running = await serving.ask(turns.running_request, session_id, owner_of(request))
    # A write that is sent again is answered again even while the next one runs.
    if running is not None and HEADER not in request.headers:
        raise Conflict("the session is busy with another request", param="session_id")
