"""POST /v1/completions."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from pararnn_server.concurrency.patience import in_time
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import COMPLETION_ENTRY
from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats.completion import CompletionFormat
from pararnn_server.http.openapi import GENERATING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_state import owner_of
from pararnn_server.http.routes.generate import (
    SessionView,
    answer,
    check_generating,
    heading,
    params_of,
    plan_of,
    view_session,
)
from pararnn_server.http.schemas.base import kind_of
from pararnn_server.http.schemas.completions import CompletionChunk, CompletionRequest, CompletionResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.models.service import Service, service_of
from pararnn_server.text.prompts import EncodedPrompt

DEFAULT_MAX_TOKENS = 16

router = APIRouter(route_class=StrictRoute, tags=["generate"])


@router.post(
    "/v1/completions",
    **documented(CompletionResponse, GENERATING, body=CompletionRequest, events=(CompletionChunk, ErrorBody)),
)
async def create_completion(request: Request) -> Response:
    """Continue text or token ids. With `session_id` the prompt holds only what is new."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    body = await read_body(request, CompletionRequest, service.settings.max_body_bytes)
    ends = check_generating(body, service)
    _check_completion(body)
    params = params_of(
        body,
        service,
        default_max_tokens=DEFAULT_MAX_TOKENS,
        logprobs=body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
    )
    view = await view_session(body, body.session_id, serving, request)
    prompts = [EncodedPrompt([])]
    if view.repeated is None:
        prompts = await in_time(request, ends, _read_prompts(body, view, service))
    head = heading("cmpl", body, serving, request, view)
    plan = plan_of(head, body, prompts, params, view, ends, owner)
    null_usage = bool(body.stream_options and body.stream_options.include_usage)
    form = CompletionFormat(head, serving.tokenizer, body.logprobs, null_usage=null_usage)
    return answer(body, plan, form, service, entry_bytes=COMPLETION_ENTRY, echo=bool(body.echo))


def _check_completion(body: CompletionRequest) -> None:
    if body.session_id is None:
        if body.prompt is None:
            raise BadRequest("Field 'prompt' is missing.", param="prompt", code="missing_field")
        return
    if body.echo:
        raise BadRequest("echo: not with session_id.", param="echo")
    if kind_of(body.prompt) in ("|texts", "|id_lists"):
        raise BadRequest("prompt: one prompt, not a list of prompts, with session_id.", param="prompt")


async def _read_prompts(body: CompletionRequest, view: SessionView, service: Service) -> list[EncodedPrompt]:
    """Only a session that holds something can be continued with an empty prompt."""
    kind = kind_of(body.prompt)
    entries = body.prompt if kind in ("|texts", "|id_lists") else [body.prompt or ""]
    assert isinstance(entries, list)
    serving, max_prompts = service.reading(), service.settings.max_prompts
    if len(entries) > max_prompts:
        raise BadRequest(f"prompt: at most {max_prompts} prompts.", param="prompt")
    room = serving.engine.max_choices
    if (replies := len(entries) * (body.n or 1)) > room:
        message = f"prompt: {replies} replies in all; this server holds at most {room} at once."
        raise BadRequest(message, param="prompt")
    reader = serving.prompts
    encoded: list[EncodedPrompt] = []
    for entry in entries:
        if not entry and view.is_empty:
            raise BadRequest("prompt: it is empty; send at least one token.", param="prompt")
        if isinstance(entry, str):
            encoded.append(await reader.text(entry, param="prompt", bos=view.is_empty))
        else:
            encoded.append(reader.ids(cast("list[int]", entry), param="prompt"))
    return encoded
