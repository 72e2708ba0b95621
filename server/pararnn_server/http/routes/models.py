"""GET /v1/models."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.openapi import READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.schemas.models import Model, ModelList
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import service_of

router = APIRouter(route_class=StrictRoute, tags=["models"])


@router.get("/v1/models", **documented(ModelList, READING))
async def list_models(request: Request) -> Response:
    """List the models that are served, each once under each of its names."""
    models = service_of(request).models
    # While nothing is loaded this is a 503, not an empty list.
    models.get()
    return JSONResponse(
        {"object": "list", "data": [_describe(models.get(name), name) for name in models.names]}
    )


@router.get("/v1/models/{model_id:path}", **documented(Model, (*READING, 404)))
async def get_model(request: Request, model_id: str) -> Response:
    """The model of a name."""
    return JSONResponse(_describe(service_of(request).models.get(model_id), model_id))


def _describe(model: ServedModel, name: str) -> dict[str, object]:
    return Model(
        id=name,
        object="model",
        created=model.created,
        owned_by="pararnn",
        root=model.name,
        max_model_len=None,
        state_bytes=model.state_bytes,
    ).model_dump()
