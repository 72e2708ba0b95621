"""/v1/sessions: create, list, inspect, append, cancel, delete. Generating is for the standard endpoints."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.append import AppendAnswer, FilledSessionAnswer, session_body
from pararnn_server.bodies import read_body
from pararnn_server.errors import BadRequest, ServerError, TooManyRequests
from pararnn_server.generation import Generation, Plan
from pararnn_server.openapi import GENERATING, IN_SESSION, READING, documented
from pararnn_server.prompts import EncodedPrompt
from pararnn_server.routes.generate import deadline
from pararnn_server.schemas.sessions import (
    AppendResponse,
    SessionAppend,
    SessionBody,
    SessionCreate,
    SessionDeleted,
    SessionDetail,
    SessionList,
)
from pararnn_server.service import Service, Serving, owner_of, service_of
from pararnn_server.sessions.session import SessionInfo

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post("", **documented(SessionBody, GENERATING, body=SessionCreate, status=201))
async def create_session(request: Request) -> Response:
    """A new session, empty or with text or tokens fed to it."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    body = await read_body(request, SessionCreate, service.settings.max_body_bytes)
    serving.check_model(body.model)
    prompt = await _read_prompt(body, serving, bos=True)
    _check_quota(service, serving, owner)
    ttl = service.settings.session_ttl_seconds if body.ttl_seconds is None else body.ttl_seconds
    info = serving.sessions.create(owner, body.metadata, ttl)
    if prompt is None:
        return JSONResponse(session_body(info), 201)
    plan = _feeding(prompt, info, owner, deadline(None, service.settings))
    generation = Generation(plan, serving.engine, serving.courier)
    return FilledSessionAnswer(generation, undo=lambda: _delete_quietly(serving, info, owner))


@router.get("", **documented(SessionList, READING))
async def list_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """A page of the key's sessions by ascending id, and what all of them hold."""
    page = service_of(request).reading().sessions.page(owner_of(request), limit, after)
    data = [session_body(info) for info in page.sessions]
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": page.has_more,
            "totals": {tier: asdict(total) for tier, total in page.totals.items()},
        }
    )


@router.get("/{session_id}", **documented(SessionDetail, (*READING, *IN_SESSION)))
async def get_session(request: Request, session_id: str) -> Response:
    """Memory, tokens and the last 256 turns. The host keeps the last committed one while the next runs."""
    sessions, owner = service_of(request).reading().sessions, owner_of(request)
    info = sessions.get(session_id, owner)
    memory = {"device": 0, "host": info.state_bytes, "store": 0} | {info.tier: info.state_bytes}
    turns = [asdict(turn) for turn in sessions.history(session_id, owner)]
    return JSONResponse(session_body(info) | {"memory": memory, "turns": turns})


@router.post("/{session_id}/append", **documented(AppendResponse, GENERATING, body=SessionAppend))
async def append(request: Request, session_id: str) -> Response:
    """Feed text or tokens without generating anything. A BOS comes only into an empty session."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    body = await read_body(request, SessionAppend, service.settings.max_body_bytes)
    ends = deadline(body.timeout, service.settings)
    info = serving.sessions.get(session_id, owner)
    is_empty = info.num_tokens == 0
    prompt = await _read_prompt(body, serving, bos=is_empty)
    if prompt is None:
        raise BadRequest("Send text or tokens.", param="text", code="missing_field")
    expected = info.turn if is_empty and body.expected_turn is None else body.expected_turn
    plan = _feeding(prompt, info, owner, ends, expected)
    return AppendAnswer(Generation(plan, serving.engine, serving.courier))


@router.post("/{session_id}/cancel", **documented(SessionBody, (*READING, *IN_SESSION)))
async def cancel(request: Request, session_id: str) -> Response:
    """End the running reply and keep what was delivered of it; without one, nothing changes."""
    engine = service_of(request).reading().engine
    info = await asyncio.wrap_future(engine.cancel(session_id, owner_of(request)))
    return JSONResponse(session_body(info))


@router.delete("/{session_id}", **documented(SessionDeleted, (*READING, *IN_SESSION)))
async def delete_session(request: Request, session_id: str) -> Response:
    """Forget the session; a running reply ends with an error."""
    service_of(request).reading().engine.delete(session_id, owner_of(request))
    return JSONResponse({"id": session_id, "object": "session.deleted", "deleted": True})


async def _read_prompt(
    body: SessionCreate | SessionAppend, serving: Serving, *, bos: bool
) -> EncodedPrompt | None:
    """None where the body has neither text nor tokens."""
    if body.text is not None and body.tokens is not None:
        raise BadRequest("tokens: send either text or tokens.", param="tokens")
    if body.tokens is not None:
        return _filled(serving.prompts.ids(body.tokens, param="tokens"), "tokens")
    if body.text is not None:
        return _filled(await serving.prompts.text(body.text, param="text", bos=bos), "text")
    return None


def _filled(prompt: EncodedPrompt, param: str) -> EncodedPrompt:
    if len(prompt.ids) == prompt.added:
        raise BadRequest(f"{param}: it is empty; send at least one token.", param=param)
    return prompt


def _feeding(
    prompt: EncodedPrompt, info: SessionInfo, owner: str, ends: float, expected_turn: int | None = None
) -> Plan:
    """A turn that only feeds."""
    return Plan(
        request_id=f"append-{secrets.token_hex(12)}",
        prompts=[prompt],
        params=SamplingParams(max_tokens=0, seed=0),
        num_choices=1,
        owner=owner,
        deadline=ends,
        session_id=info.id,
        expected_turn=expected_turn,
    )


def _check_quota(service: Service, serving: Serving, owner: str) -> None:
    limit = service.settings.key_max_sessions
    totals = serving.sessions.page(owner, 1).totals.values()
    if limit and sum(total.sessions for total in totals) >= limit:
        raise TooManyRequests(f"This key may keep {limit} sessions; delete some.", code="quota")


def _delete_quietly(serving: Serving, info: SessionInfo, owner: str) -> None:
    """It may have gone by itself, or by another request of its owner."""
    with suppress(ServerError):
        serving.engine.delete(info.id, owner)
