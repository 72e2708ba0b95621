"""/v1/responses: create, retrieve, delete, input items."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats import sse
from pararnn_server.http.formats.response import replay
from pararnn_server.http.held_answer import held_answer
from pararnn_server.http.idempotency import idempotency_key_of
from pararnn_server.http.openapi import GENERATING, IN_SESSION, READING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext, request_context
from pararnn_server.http.routes.generate import record
from pararnn_server.http.sampling_fields import Sampling, sampling_params
from pararnn_server.http.schemas.response_answers import (
    CompactedResponse,
    InputItemList,
    InputTokens,
    ModelResponse,
    ResponseDeleted,
    ResponseEvent,
)
from pararnn_server.http.schemas.response_items import AnyItem
from pararnn_server.http.schemas.responses import CompactRequest, InputTokensRequest, ResponseRequest
from pararnn_server.http.tool_calls import shown_tools
from pararnn_server.models.service import service_of
from pararnn_server.responses import records
from pararnn_server.responses.compact import new_compaction
from pararnn_server.responses.create import given_of, new_response, new_response_id, start_of
from pararnn_server.responses.records import StoredResponse
from pararnn_server.responses.tools import tool_use_of

JSON_TYPE = "application/json"

router = APIRouter(route_class=StrictRoute, prefix="/v1/responses", tags=["responses"])


@router.post("", **documented(ModelResponse, GENERATING, body=ResponseRequest, events=(ResponseEvent,)))
async def create_response(request: Request) -> Response:
    """Answer a conversation; the next request need only name this one."""
    service_of(request).check_accepting()
    body = await read_body(request, ResponseRequest)
    context = _context(request, body.model, body.timeout)
    if body.previous_response_id is not None and (body.repeat_last_n or 0) > 0:
        raise BadRequest("repeat_last_n: not with previous_response_id; send -1 or 0.", param="repeat_last_n")
    params = await sampling_params(body, Sampling(), context.model, context.settings)
    context = replace(context, params=params)
    record(request, body)
    key = await idempotency_key_of(request, body)
    if key is not None and body.store is False:
        raise BadRequest("Idempotency-Key: not with store false.", param="Idempotency-Key")
    if key is not None:
        repeated = await context.model.ask(records.find_repeated, key, context.owner)
        if repeated is not None:
            return await _again(request, repeated, streams=bool(body.stream))
    return await context.in_time(new_response(context, body, key))


@router.post("/input_tokens", **documented(InputTokens, GENERATING, body=InputTokensRequest))
async def count_input_tokens(request: Request) -> Response:
    """Count the ids that a response to this input would read, those of its conversation included."""
    service_of(request).models.get()
    body = await read_body(request, InputTokensRequest)
    context = _context(request, body.model)
    given = await given_of(context, body.input, new_response_id())
    use = tool_use_of(body, context.settings.max_tools_bytes)
    start = await context.in_time(start_of(context, body, given, shown_tools(context, use)))
    num_tokens = start.resumed.num_tokens + len(context.model.prompts.checked(start.ids, "input"))
    return JSONResponse({"object": "response.input_tokens", "input_tokens": num_tokens})


@router.post("/compact", **documented(CompactedResponse, GENERATING, body=CompactRequest))
async def compact_response(request: Request) -> Response:
    """Seal the state of a conversation as an item that the client keeps: nothing of it is stored."""
    service_of(request).check_accepting()
    body = await read_body(request, CompactRequest)
    context = _context(request, body.model, body.timeout)
    record(request, body)
    return await context.in_time(new_compaction(context, body))


@router.get("/{response_id}", **documented(ModelResponse, (*READING, *IN_SESSION)))
async def get_response(request: Request, response_id: str, stream: bool = False) -> Response:
    """The response as it was given, with `stream` as the events of its stream."""
    context = _context(request)
    response = await context.model.ask(records.load, response_id, context.owner)
    return await _again(request, response, streams=stream)


@router.delete("/{response_id}", **documented(ResponseDeleted, (*READING, *IN_SESSION)))
async def delete_response(request: Request, response_id: str) -> Response:
    """Forget the response; those that went on from it stay."""
    context = _context(request)
    await context.model.ask(records.delete, response_id, context.owner)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@router.get("/{response_id}/input_items", **documented(InputItemList, (*READING, *IN_SESSION)))
async def list_input_items(
    request: Request,
    response_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """List the items of the response's input, with those of its conversation that are still stored."""
    context = _context(request)
    max_bytes = context.settings.max_body_bytes
    items = await context.model.ask(records.inputs, response_id, context.owner, max_bytes)
    page, has_more = _page(items if order == "asc" else items[::-1], limit, after)
    # An estimate; the answer is counted exactly once it is made.
    num_bytes = sum(item.num_chars for item in page)
    return await held_answer(request, num_bytes, partial(_list_of, page, has_more), media_type=JSON_TYPE)


def _context(request: Request, model: str | None = None, timeout: float | None = None) -> RequestContext:
    """Return the context of a request for stored responses, which have an owner of their own."""
    context = request_context(request, model, timeout)
    return replace(context, owner=context.owner.responses)


def _page(items: list[AnyItem], limit: int, after: str) -> tuple[list[AnyItem], bool]:
    """Return the items behind `after`, or from the first on, and whether there are more."""
    ids = [item.id for item in items]
    if after and after not in ids:
        raise BadRequest("after: it names no item of this response.", param="after")
    start = ids.index(after) + 1 if after else 0
    return items[start : start + limit], start + limit < len(items)


def _list_of(page: list[AnyItem], has_more: bool) -> bytes:
    fields = {
        "object": "list",
        "data": [item.body() for item in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": has_more,
    }
    return _json(fields)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _again(request: Request, repeated: StoredResponse, *, streams: bool) -> Response:
    if not streams:
        content = partial(_json, repeated.body)
        return await held_answer(request, repeated.nbytes, content, media_type=JSON_TYPE)
    headers = {name.decode(): value.decode() for name, value in sse.HEADERS}
    content = partial(replay, repeated.body)
    return await held_answer(request, repeated.nbytes, content, media_type=None, headers=headers)
