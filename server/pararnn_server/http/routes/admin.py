"""/health, /ready and /metrics."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from pararnn_server.http.openapi import ALWAYS, documented, rendered
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.schemas.admin import Health, Ready
from pararnn_server.models.service import service_of

router = APIRouter(route_class=StrictRoute, tags=["admin"])


@router.get("/health", **documented(Health, (400, 500)))
async def health() -> Response:
    """The process answers. Needs no key."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", **documented(Ready, (400, 500, 503)))
async def ready(request: Request) -> Response:
    """The model is loaded, new work is accepted and no shared thread is stalled. Needs no key."""
    service = service_of(request)
    service.check_accepting()
    # The loop itself may have been still: what was seen then is reported afterwards.
    service.stalls.check()
    return JSONResponse({"status": "ready"})


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The schema of this interface. Needs no key."""
    return Response(rendered(request.app), media_type="application/json")


@router.get("/metrics", **documented(None, ALWAYS))
async def metrics(request: Request) -> Response:
    """Prometheus text. With API keys this needs the admin key."""
    # Gauges ask the engine and the store, which may take a moment.
    text = await asyncio.to_thread(service_of(request).metrics.render)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
