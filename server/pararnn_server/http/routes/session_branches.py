"""/v1/sessions/{id}: forks, named snapshots, turns undone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.errors import BadRequest
from pararnn_server.http.append import session_body
from pararnn_server.http.bodies import read_body
from pararnn_server.http.idempotency import idempotency_key_of
from pararnn_server.http.openapi import IN_SESSION, READING, WRITING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import session_context
from pararnn_server.http.routes.early import session_exists, session_writable
from pararnn_server.http.schemas.sessions import SessionBody, SessionFork, SessionRollback, SnapshotCreate
from pararnn_server.models.service import service_of
from pararnn_server.sessions import branches

router = APIRouter(route_class=StrictRoute, prefix="/v1/sessions/{session_id}", tags=["sessions"])


@router.post("/fork", **documented(SessionBody, WRITING, body=SessionFork, status=201))
async def fork(request: Request, session_id: str) -> Response:
    """A new session that continues from the last committed turn of this one, and outlives it."""
    service_of(request).check_accepting()
    # Not `session_writable`: a fork reads the last committed turn, also while the next runs.
    context = await session_exists(request, session_id)
    body = await read_body(request, SessionFork)
    info = await context.model.ask(
        branches.fork,
        session_id,
        context.owner,
        body.metadata,
        idempotency_key=await idempotency_key_of(request, body),
        expected_turn=body.expected_turn,
    )
    return JSONResponse(session_body(info), 201)


@router.post("/snapshots", **documented(SessionBody, WRITING, body=SnapshotCreate))
async def save_snapshot(request: Request, session_id: str) -> Response:
    """Name the current point of the session; a name that is taken moves here."""
    service_of(request).check_accepting()
    context = await session_writable(request, session_id)
    body = await read_body(request, SnapshotCreate)
    info = await context.model.ask(
        branches.save_snapshot,
        session_id,
        context.owner,
        body.name,
        idempotency_key=await idempotency_key_of(request, body),
        expected_turn=body.expected_turn,
    )
    return JSONResponse(session_body(info))


@router.delete("/snapshots/{name}", **documented(SessionBody, (*READING, *IN_SESSION, 409)))
async def delete_snapshot(
    request: Request, session_id: str, name: Annotated[str, Path(max_length=64)]
) -> Response:
    """Forget a named snapshot."""
    service_of(request).check_accepting()
    context = await session_context(request, session_id)
    info = await context.model.ask(branches.delete_snapshot, session_id, context.owner, name)
    return JSONResponse(session_body(info))


@router.post("/rollback", **documented(SessionBody, WRITING, body=SessionRollback))
async def rollback(request: Request, session_id: str) -> Response:
    """Undo the last turns, or go back to a named snapshot."""
    service_of(request).check_accepting()
    context = await session_writable(request, session_id)
    body = await read_body(request, SessionRollback)
    if (body.turns is None) == (body.snapshot is None):
        raise BadRequest("turns: send either turns or snapshot.", param="turns")
    target = body.snapshot if body.turns is None else body.turns
    assert target is not None
    info = await context.model.ask(
        branches.rollback,
        session_id,
        context.owner,
        target,
        idempotency_key=await idempotency_key_of(request, body),
        expected_turn=body.expected_turn,
    )
    return JSONResponse(session_body(info))
