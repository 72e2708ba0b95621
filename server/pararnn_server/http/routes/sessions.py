"""/v1/sessions: create, list, inspect, change, append, cancel, delete; the standard endpoints generate."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import asdict, replace
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.errors import BadRequest, Conflict, Unavailable
from pararnn_server.http.append import AppendAnswer, FilledSessionAnswer, session_body
from pararnn_server.http.bodies import is_state_file, read_body, read_state_file
from pararnn_server.http.openapi import GENERATING, IN_SESSION, READING, WRITING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext, deadline, request_context, session_context
from pararnn_server.http.routes.early import session_writable
from pararnn_server.http.routes.generate import view_session
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
from pararnn_server.models.service import service_of
from pararnn_server.sessions import catalogue, import_export, turns
from pararnn_server.text.prompts import EncodedPrompt

# A server looks once a second whether another has asked it to end a reply.
CANCEL_SECONDS = 8.0
POLL_SECONDS = 0.1

router = APIRouter(route_class=StrictRoute, prefix="/v1/sessions", tags=["sessions"])


@router.post("", **documented(SessionBody, GENERATING, body=SessionCreate, status=201, file_body=True))
async def create_session(request: Request) -> Response:
    """A new session: empty, with text or tokens fed to it, or as an exported file says."""
    service_of(request).check_accepting()
    if is_state_file(request):
        return await _import(request)
    body = await read_body(request, SessionCreate)
    context = request_context(request, body.model)
    prompt = await context.in_time(_read_prompt(context, body))
    default_ttl, ask = context.settings.session_ttl_seconds, context.model.ask
    # Zero is a value too, so `or` would not do.
    ttl = default_ttl if body.ttl_seconds is None else body.ttl_seconds
    info = await ask(catalogue.create, context.owner, body.metadata, ttl)
    if prompt is None:
        return JSONResponse(session_body(info), 201)
    return FilledSessionAnswer(
        _feeding(context, info.id, prompt), undo=lambda: _delete_quietly(context, info.id)
    )


@router.get("", **documented(SessionList, READING))
async def list_sessions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """A page of the key's sessions by ascending id, and what all of them hold."""
    context = request_context(request)
    page = await context.model.ask(catalogue.page, context.owner, limit, after)
    data = [session_body(info) for info in page.sessions]
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            # Damaged sessions are part of the page, though nothing but their ids can be shown.
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
    context = await session_context(request, session_id)
    found = await context.model.ask(catalogue.details, session_id, context.owner)
    body = session_body(found.info) | {
        "memory": dict(found.memory),
        "turns": [asdict(turn) for turn in found.turns],
        "snapshots": {name: asdict(snapshot) for name, snapshot in found.snapshots.items()},
    }
    return JSONResponse(body)


@router.patch("/{session_id}", **documented(SessionBody, WRITING, body=SessionPatch))
async def change_session(request: Request, session_id: str) -> Response:
    """Change metadata, time to live or pinning."""
    service_of(request).check_accepting()
    context = await session_writable(request, session_id)
    body = await read_body(request, SessionPatch)
    info = await context.model.ask(
        catalogue.update,
        session_id,
        context.owner,
        metadata=body.metadata,
        ttl_seconds=body.ttl_seconds,
        pinned=body.pinned,
        expected_turn=body.expected_turn,
    )
    return JSONResponse(session_body(info))


@router.post("/{session_id}/append", **documented(AppendResponse, GENERATING, body=SessionAppend))
async def append(request: Request, session_id: str) -> Response:
    """Feed text or tokens without generating anything. A BOS comes only into an empty session."""
    service_of(request).check_accepting()
    context = await session_writable(request, session_id)
    body = await read_body(request, SessionAppend)
    context = replace(context, deadline=deadline(body.timeout, context.settings))
    context = replace(context, session=await view_session(context, session_id, body))
    prompt = await context.in_time(_read_prompt(context, body))
    if prompt is None:
        raise BadRequest("Send text or tokens.", param="text", code="missing_field")
    return AppendAnswer(_feeding(context, session_id, prompt))


@router.post("/{session_id}/cancel", **documented(SessionBody, (*READING, *IN_SESSION, 409)))
async def cancel(request: Request, session_id: str) -> Response:
    """End the running reply and keep what was delivered of it; without one, nothing changes."""
    context = await session_context(request, session_id)
    model, owner = context.model, context.owner
    request_id = await model.ask(turns.running_request, session_id, owner)
    if request_id is not None:
        await asyncio.wrap_future(model.engine.cancel(request_id))
    else:
        # Where servers share a store, another one may be writing to this session.
        await _end_elsewhere(context, session_id)
    return JSONResponse(session_body(await model.ask(catalogue.get, session_id, owner)))


@router.delete("/{session_id}", **documented(SessionDeleted, (*READING, *IN_SESSION)))
async def delete_session(request: Request, session_id: str) -> Response:
    """Forget the session; a running reply ends with an error."""
    context = await session_context(request, session_id)
    request_id = await context.model.ask(catalogue.delete, session_id, context.owner)
    if request_id is not None:
        message = "the session was deleted while its reply ran"
        # The reply could not be committed any more, so it need not run to its end.
        context.model.engine.fail(request_id, Conflict(message, code="session_deleted"))
    return JSONResponse({"id": session_id, "object": "session.deleted", "deleted": True})


async def _end_elsewhere(context: RequestContext, session_id: str) -> None:
    """Wait until no other server writes to the session. Raises Conflict if one continues to."""
    for _ in range(ceil(CANCEL_SECONDS / POLL_SECONDS)):
        if not await context.model.ask(turns.ask_elsewhere, session_id, context.owner):
            return
        await asyncio.sleep(POLL_SECONDS)
    message = "the session is busy on another server, which was asked to end its reply; cancel again"
    raise Conflict(message, param="session_id", headers={"retry-after": "1"})


async def _import(request: Request) -> Response:
    context = request_context(request)
    file, _ = await read_state_file(request, context.model.sessions.kind)
    ttl = context.settings.session_ttl_seconds
    info = await context.model.ask(import_export.import_new, context.owner, file, ttl)
    return JSONResponse(session_body(info), 201)


async def _read_prompt(context: RequestContext, body: SessionCreate | SessionAppend) -> EncodedPrompt | None:
    """Encode what the body has; None where it has neither text nor tokens."""
    prompts = context.model.prompts
    if body.text is not None and body.tokens is not None:
        raise BadRequest("tokens: send either text or tokens.", param="tokens")
    if body.tokens is not None:
        return _filled(prompts.ids(body.tokens, param="tokens"), "tokens")
    if body.text is not None:
        text = await prompts.text(body.text, param="text", bos=context.session.is_empty)
        return _filled(text, "text")
    return None


def _filled(prompt: EncodedPrompt, param: str) -> EncodedPrompt:
    # A BOS that the server added is not something the client sent.
    if len(prompt.token_ids) == prompt.added:
        raise BadRequest(f"{param}: it is empty; send at least one token.", param=param)
    return prompt


def _feeding(context: RequestContext, session_id: str, prompt: EncodedPrompt) -> Generation:
    """A turn that only feeds."""
    session, model = context.session, context.model
    plan = GenerationPlan(
        request_id=f"append-{secrets.token_hex(12)}",
        prompts=[prompt],
        params=context.params,
        num_choices=1,
        owner=context.owner,
        deadline=context.deadline,
        session_id=session_id,
        expected_turn=session.expected_turn,
        idempotency_key=session.idempotency_key,
        repeated=session.repeated,
    )
    return Generation(plan, model.engine, model.dispatcher)


def _delete_quietly(context: RequestContext, session_id: str) -> None:
    """Delete without waiting: the session may be gone by itself, or by another request of its owner."""
    with suppress(Unavailable):
        context.model.sessions.ask(catalogue.delete, session_id, context.owner)
