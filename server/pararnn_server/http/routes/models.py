"""GET /v1/models."""

from __future__ import annotations

from datetime import datetime, timezone

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.error_response import VERSION_HEADER
from pararnn_server.http.openapi import READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.schemas.models import Model, ModelInfo, ModelInfoList, ModelList
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import service_of
from pararnn_server.settings.server_settings import Settings

router = APIRouter(route_class=StrictRoute, tags=["models"])


@router.get("/v1/models", **documented((ModelList, ModelInfoList), READING))
async def list_models(request: Request) -> Response:
    """List the models that are served, each once under each of its names."""
    service = service_of(request)
    # While nothing is loaded this is a 503, not an empty list.
    service.models.get()
    served = [(service.models.get(name), name) for name in service.models.names]
    if VERSION_HEADER not in request.headers:
        return JSONResponse({"object": "list", "data": [_describe(*each) for each in served]})
    infos = [_info(*each, service.settings) for each in served]
    ends = {"first_id": infos[0]["id"], "last_id": infos[-1]["id"]}
    return JSONResponse({"data": infos, **ends, "has_more": False})


@router.get("/v1/models/{model_id:path}", **documented((Model, ModelInfo), (*READING, 404)))
async def get_model(request: Request, model_id: str) -> Response:
    """The model of a name."""
    service = service_of(request)
    model = service.models.get(model_id)
    if VERSION_HEADER in request.headers:
        return JSONResponse(_info(model, model_id, service.settings))
    return JSONResponse(_describe(model, model_id))


def _describe(model: ServedModel, name: str) -> dict[str, object]:
    return Model(
        id=name,
        object="model",
        created=model.created,
        owned_by="pararnn",
        root=model.name,
        max_model_len=None,
        state_bytes=model.state_bytes,
        transformer_token_bytes=model.transformer_token_bytes,
    ).model_dump()


def _info(model: ServedModel, name: str, settings: Settings) -> dict[str, object]:
    return ModelInfo(
        type="model",
        id=name,
        display_name=model.name,
        created_at=datetime.fromtimestamp(model.created, timezone.utc).isoformat(),
        lifecycle="active",
        max_input_tokens=settings.max_prompt_tokens,
        max_tokens=settings.max_output_tokens,
    ).model_dump()
