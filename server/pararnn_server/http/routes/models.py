"""GET /v1/models."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.openapi import READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.schemas.models import Model, ModelList
from pararnn_server.models.service import Serving, service_of

router = APIRouter(route_class=StrictRoute, tags=["models"])


@router.get("/v1/models", **documented(ModelList, READING))
async def list_models(request: Request) -> Response:
    """List the model that is served, once under each of its names."""
    serving = service_of(request).reading()
    return JSONResponse({"object": "list", "data": [_describe(serving, name) for name in serving.names]})


@router.get("/v1/models/{model_id:path}", **documented(Model, (*READING, 404)))
async def get_model(request: Request, model_id: str) -> Response:
    """The model, if it is the one that is served."""
    serving = service_of(request).reading()
    serving.check_model(model_id)
    return JSONResponse(_describe(serving, model_id))


def _describe(serving: Serving, name: str) -> dict[str, object]:
    return Model(
        id=name,
        object="model",
        created=serving.created,
        owned_by="pararnn",
        root=serving.name,
        max_model_len=None,
        state_bytes=serving.state_bytes,
    ).model_dump()
