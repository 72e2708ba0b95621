"""/v1/sessions: create, list, inspect, change, append, cancel, delete; the standard endpoints generate."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import asdict
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.access.owner import Owner
from pararnn_server.concurrency.patience import in_time
from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.errors import BadRequest, Conflict, Unavailable
from pararnn_server.http.append import AppendAnswer, FilledSessionAnswer, session_body
from pararnn_server.http.bodies import is_state_file, read_body, read_state_file
from pararnn_server.http.openapi import GENERATING, IN_SESSION, READING, WRITING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_state import owner_of
from pararnn_server.http.routes.early import check_writable
from pararnn_server.http.routes.generate import NO_SESSION, SessionView, deadline, view_session
from pararnn_server.http.schemas.sessions import (
    AppendResponse,
    SessionAppend,
    SessionBody,
    SessionCreate,
    SessionDeleted,
    SessionDetail,
    SessionList,
    SessionPatch,
)
from pararnn_server.models.service import Service, Serving, service_of
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions import turns
from pararnn_server.text.prompts import EncodedPrompt

# A server looks once a second whether another has asked it to end a reply.
CANCEL_SECONDS = 8.0
POLL_SECONDS = 0.1

router = APIRouter(route_class=StrictRoute, prefix="/v1/sessions", tags=["sessions"])


@router.post("", **documented(SessionBody, GENERATING, body=SessionCreate, status=201, file_body=True))
async def create_session(request: Request) -> Response:
    """A new session: empty, with text or tokens fed to it, or as an exported file says."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    if is_state_file(request):
        return await _import(request, service, serving, owner)
    body = await read_body(request, SessionCreate, service.settings.max_body_bytes)
    serving.check_model(body.model)
    ends = deadline(None, service.settings)
    prompt = await in_time(request, ends, _read_prompt(body, serving, bos=True))
    ttl = service.settings.session_ttl_seconds if body.ttl_seconds is None else body.ttl_seconds
    info = await serving.ask(directory.create, owner, body.metadata, ttl)
    if prompt is None:
        return JSONResponse(session_body(info), 201)
    plan = _feeding(prompt, info.id, owner, ends, NO_SESSION)
    generation = Generation(plan, serving.engine, serving.dispatcher)
    return FilledSessionAnswer(generation, undo=lambda: _delete_quietly(serving, info.id, owner))


@router.get("", **documented(SessionList, READING))
async def list_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """A page of the key's sessions by ascending id, and what all of them hold."""
    page = await service_of(request).reading().ask(directory.page, owner_of(request), limit, after)
    data = [session_body(info) for info in page.sessions]
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "first_id": min([*page.damaged, *(info.id for info in page.sessions)], default=None),
            "last_id": page.last_id if data or page.damaged else None,
            "has_more": page.has_more,
            "damaged": page.damaged,
            "totals": {tier: asdict(total) for tier, total in page.totals.items()},
        }
    )


@router.get("/{session_id}", **documented(SessionDetail, (*READING, *IN_SESSION)))
async def get_session(request: Request, session_id: str) -> Response:
    """Memory, tokens, the last 256 turns, named snapshots; the last committed turn while the next runs."""
    found = await service_of(request).reading().ask(directory.details, session_id, owner_of(request))
    body = session_body(found.info) | {
        "memory": dict(found.memory),
        "turns": [asdict(turn) for turn in found.turns],
        "snapshots": {name: asdict(snapshot) for name, snapshot in found.snapshots.items()},
    }
    return JSONResponse(body)


@router.patch("/{session_id}", **documented(SessionBody, WRITING, body=SessionPatch))
async def change_session(request: Request, session_id: str) -> Response:
    """Change metadata, time to live or pinning."""
    service = service_of(request)
    serving = service.accepting()
    await check_writable(request, session_id, serving)
    body = await read_body(request, SessionPatch, service.settings.max_body_bytes)
    info = await serving.ask(
        directory.update,
        session_id,
        owner_of(request),
        metadata=body.metadata,
        ttl_seconds=body.ttl_seconds,
        pinned=body.pinned,
        expected_turn=body.expected_turn,
    )
    return JSONResponse(session_body(info))


@router.post("/{session_id}/append", **documented(AppendResponse, GENERATING, body=SessionAppend))
async def append(request: Request, session_id: str) -> Response:
    """Feed text or tokens without generating anything. A BOS comes only into an empty session."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    await check_writable(request, session_id, serving)
    body = await read_body(request, SessionAppend, service.settings.max_body_bytes)
    ends = deadline(body.timeout, service.settings)
    view = await view_session(body, session_id, serving, request)
    prompt = await in_time(request, ends, _read_prompt(body, serving, bos=view.is_empty))
    if prompt is None:
        raise BadRequest("Send text or tokens.", param="text", code="missing_field")
    plan = _feeding(prompt, session_id, owner, ends, view)
    return AppendAnswer(Generation(plan, serving.engine, serving.dispatcher))


@router.post("/{session_id}/cancel", **documented(SessionBody, (*READING, *IN_SESSION, 409)))
async def cancel(request: Request, session_id: str) -> Response:
    """End the running reply and keep what was delivered of it; without one, nothing changes."""
    serving, owner = service_of(request).reading(), owner_of(request)
    request_id = await serving.ask(turns.running_request, session_id, owner)
    if request_id is not None:
        await asyncio.wrap_future(serving.engine.cancel(request_id))
    else:
        await _end_elsewhere(serving, session_id, owner)
    return JSONResponse(session_body(await serving.ask(directory.get, session_id, owner)))


@router.delete("/{session_id}", **documented(SessionDeleted, (*READING, *IN_SESSION)))
async def delete_session(request: Request, session_id: str) -> Response:
    """Forget the session; a running reply ends with an error."""
    serving = service_of(request).reading()
    request_id = await serving.ask(directory.delete, session_id, owner_of(request))
    if request_id is not None:
        message = "the session was deleted while its reply ran"
        serving.engine.fail(request_id, Conflict(message, code="session_deleted"))
    return JSONResponse({"id": session_id, "object": "session.deleted", "deleted": True})


async def _end_elsewhere(serving: Serving, session_id: str, owner: Owner) -> None:
    """Waits until no other server writes to the session. Raises Conflict if one goes on."""
    for _ in range(ceil(CANCEL_SECONDS / POLL_SECONDS)):
        if not await serving.ask(turns.ask_elsewhere, session_id, owner):
            return
        await asyncio.sleep(POLL_SECONDS)
    message = "the session is busy on another server, which was asked to end its reply; cancel again"
    raise Conflict(message, param="session_id", headers={"retry-after": "1"})


async def _import(request: Request, service: Service, serving: Serving, owner: Owner) -> Response:
    file, _ = await read_state_file(request, serving.sessions.kind, service.settings.max_body_bytes)
    ttl = service.settings.session_ttl_seconds
    info = await serving.ask(transfer.import_new, owner, file, ttl)
    return JSONResponse(session_body(info), 201)


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
    prompt: EncodedPrompt, session_id: str, owner: Owner, ends: float, view: SessionView
) -> GenerationPlan:
    """A turn that only feeds."""
    return GenerationPlan(
        request_id=f"append-{secrets.token_hex(12)}",
        prompts=[prompt],
        params=SamplingParams(max_tokens=0, seed=0),
        num_choices=1,
        owner=owner,
        deadline=ends,
        session_id=session_id,
        expected_turn=view.expected_turn,
        idempotency_key=view.idempotency_key,
        repeated=view.repeated,
    )


def _delete_quietly(serving: Serving, session_id: str, owner: Owner) -> None:
    """It may have gone by itself, or by another request of its owner; nobody waits for how this ends."""
    with suppress(Unavailable):
        serving.sessions.ask(directory.delete, session_id, owner)
