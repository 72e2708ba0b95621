"""/v1/monitor and /v1/admin/sessions: the sessions of a key or of all, live and as a list."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.openapi import ALWAYS, READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_state import request_state
from pararnn_server.http.schemas.monitor import AdminSessionList, MonitorChange, MonitorSnapshot
from pararnn_server.http.schemas.sessions import Tier
from pararnn_server.models.service import service_of
from pararnn_server.monitor.monitor import monitor_of
from pararnn_server.monitor.selection import Order, Selection, SortField, select
from pararnn_server.monitor.session_table import row_body
from pararnn_server.monitor.stream import MonitorStream
from pararnn_server.sessions.ledger import Ledger

router = APIRouter(route_class=StrictRoute, tags=["admin"])


@router.get("/v1/monitor", **documented(None, READING, events=(MonitorSnapshot, MonitorChange)))
async def monitor(request: Request) -> Response:
    """A snapshot of the key's sessions and of what it holds, then changes. The admin key sees all keys."""
    service, state = service_of(request), request_state(request.scope)
    service.check_accepting()
    key = None if state.is_admin else state.key
    event_id = request.headers.get("last-event-id", "")
    return MonitorStream(monitor_of(request), key, event_id, service.settings.stream_ping_seconds)


@router.get("/v1/admin/sessions", **documented(AdminSessionList, (*ALWAYS, 503)))
async def list_all_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    after: Annotated[str, Query(max_length=64)] = "",
    sort: SortField = "last_used_at",
    order: Order = "desc",
    owner: Annotated[str | None, Query(max_length=64)] = None,
    tier: Tier | None = None,
    search: Annotated[str, Query(max_length=512)] = "",
    metadata: Annotated[list[str], Query(max_length=16)] = [],  # noqa: B006  # FastAPI copies it
) -> Response:
    """Sessions of all keys. With API keys this needs the admin key."""
    selection = Selection(sort, order, owner, tier, search, metadata, after, limit)
    model = service_of(request).models.get()
    table, progress = await monitor_of(request).sessions()
    rates = {each.session_id: each.tokens_per_second for each in progress if each.session_id is not None}
    # A copy: the event loop changes the table while the thread sorts.
    page = await asyncio.to_thread(select, table.rows_of(None), rates, selection)
    data = [
        row_body(row.key, row.info) | {"tokens_per_second": rates.get(row.info.id, 0.0)} for row in page.rows
    ]
    totals = await model.ask(Ledger.totals)
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "last_id": page.rows[-1].info.id if page.rows else None,
            "has_more": page.has_more,
            "num_matches": page.num_matches,
            "totals": {tier: asdict(total) for tier, total in totals.items()},
        }
    )
