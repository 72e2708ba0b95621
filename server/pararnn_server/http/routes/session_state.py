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
from pararnn_server.http.request_state import owner_of
from pararnn_server.http.routes.early import check_writable
from pararnn_server.http.schemas.sessions import SessionBody
from pararnn_server.models.service import service_of
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions.state_file import TOKEN_BYTES

router = APIRouter(route_class=StrictRoute, prefix="/v1/sessions/{session_id}/state", tags=["sessions"])


@router.get("", **documented(None, (*READING, *IN_SESSION, 409), file_answer=True))
async def export_state(request: Request, session_id: str, tokens: bool = False) -> Response:
    """The last committed turn as a safetensors file; with `tokens` the token log is in it."""
    serving, owner = service_of(request).reading(), owner_of(request)
    info, _ = await serving.ask(directory.view, session_id, owner)
    num_bytes = info.state_bytes + (TOKEN_BYTES * info.num_tokens if tokens else 0)
    hold_bytes(request, num_bytes)
    file = await serving.ask(transfer.export, session_id, owner, tokens=tokens)
    headers = {"content-disposition": f'attachment; filename="{session_id}.safetensors"'}
    return await held_answer(request, num_bytes, file.encode, media_type=STATE_FILE_TYPE, headers=headers)


@router.put("", **documented(SessionBody, WRITING, file_body=True))
async def import_state(
    request: Request, session_id: str, expected_turn: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """Put an exported state in place of this session's, as one more turn that cannot be undone."""
    service = service_of(request)
    serving = service.accepting()
    await check_writable(request, session_id, serving)
    file, content = await read_state_file(request, serving.sessions.kind, service.settings.max_body_bytes)
    info = await serving.ask(
        transfer.import_into,
        session_id,
        owner_of(request),
        file,
        idempotency_key=await idempotency_key_of(request, content),
        expected_turn=expected_turn,
    )
    return JSONResponse(session_body(info))
