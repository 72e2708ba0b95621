"""GET /v1/models."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.error_response import VERSION_HEADER
from pararnn_server.http.model_pages import Lifecycle, PageQuery, check_unpaged
from pararnn_server.http.openapi import READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.schemas.models import Model, ModelInfo, ModelInfoList, ModelList
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import service_of
from pararnn_server.settings.server_settings import Settings

router = APIRouter(route_class=StrictRoute, tags=["models"])


@router.get("/v1/models", **documented((ModelList, ModelInfoList), READING))
async def list_models(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after_id: Annotated[str, Query(max_length=256)] = "",
    before_id: Annotated[str, Query(max_length=256)] = "",
    lifecycle: Annotated[tuple[Lifecycle, ...], Query(alias="lifecycle[]", max_length=3)] = (),
) -> Response:
    """List the models that are served, each once under each of its names.

    With the header `anthropic-version` the list has pages.
    """
    service = service_of(request)
    # While nothing is loaded this is a 503, not an empty list.
    service.models.get()
    names = service.models.names
    if VERSION_HEADER not in request.headers:
        check_unpaged(request.query_params)
        data = [_describe(service.models.get(name), name) for name in names]
        return JSONResponse({"object": "list", "data": data})
    page = PageQuery(limit, after_id, before_id, lifecycle).page(names)
    infos = [_info(service.models.get(name), name, service.settings) for name in page.names]
    ends: dict[str, object] = {"first_id": None, "last_id": None}
    if infos:
        ends = {"first_id": infos[0]["id"], "last_id": infos[-1]["id"]}
    return JSONResponse({"data": infos, **ends, "has_more": page.has_more})


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
