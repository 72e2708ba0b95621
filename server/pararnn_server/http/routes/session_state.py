"""/v1/sessions/{id}/state: a session as a file, out of one server and into another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.http.append import session_body
from pararnn_server.http.bodies import STATE_FILE_TYPE, hold_bytes, read_state_file
from pararnn_server.http.held_answer import held_answer
from pararnn_server.http.idempotency import idempotency_key_of
from pararnn_server.http.openapi import IN_SESSION, READING, WRITING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import session_context
from pararnn_server.http.routes.early import session_writable
from pararnn_server.http.schemas.sessions import SessionBody
from pararnn_server.models.service import service_of
from pararnn_server.sessions import catalogue, import_export
from pararnn_server.sessions.state_file import TOKEN_BYTES

router = APIRouter(route_class=StrictRoute, prefix="/v1/sessions/{session_id}/state", tags=["sessions"])


@router.get("", **documented(None, (*READING, *IN_SESSION, 409), file_answer=True))
async def export_state(request: Request, session_id: str, tokens: bool = False) -> Response:
    """The last committed turn as a safetensors file; with `tokens` the token log is in it."""
    context = await session_context(request, session_id)
    model, owner = context.model, context.owner
    info, _, _ = await model.ask(catalogue.view, session_id, owner)
    num_bytes = info.state_bytes + (TOKEN_BYTES * info.num_tokens if tokens else 0)
    # Before the store reads it: many exports at once would fill the memory.
    hold_bytes(request, num_bytes)
    file = await model.ask(import_export.export, session_id, owner, tokens=tokens)
    headers = {"content-disposition": f'attachment; filename="{session_id}.safetensors"'}
    return await held_answer(request, num_bytes, file.encode, media_type=STATE_FILE_TYPE, headers=headers)


@router.put("", **documented(SessionBody, WRITING, file_body=True))
async def import_state(
    request: Request, session_id: str, expected_turn: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """Put an exported state in place of this session's, as one more turn that cannot be undone."""
    service_of(request).check_accepting()
    context = await session_writable(request, session_id)
    file, content = await read_state_file(request, context.model.sessions.kind)
    info = await context.model.ask(
        import_export.import_into,
        session_id,
        context.owner,
        file,
        idempotency_key=await idempotency_key_of(request, content),
        expected_turn=expected_turn,
    )
    return JSONResponse(session_body(info))
