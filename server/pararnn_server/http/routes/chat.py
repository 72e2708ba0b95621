"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from pararnn_server.concurrency.patience import in_time
from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import CHAT_ENTRY
from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats.chat import ChatFormat
from pararnn_server.http.openapi import GENERATING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_state import owner_of
from pararnn_server.http.routes.generate import (
    answer,
    check_generating,
    heading,
    params_of,
    plan_of,
    view_session,
)
from pararnn_server.http.schemas.chat import ChatChunk, ChatRequest, ChatResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.models.service import service_of
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_prompt import said
from pararnn_server.text.prompts import EncodedPrompt

router = APIRouter(route_class=StrictRoute, tags=["generate"])


@router.post(
    "/v1/chat/completions",
    **documented(ChatResponse, GENERATING, body=ChatRequest, events=(ChatChunk, ErrorBody)),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation. With `session_id` the messages hold only what is new."""
    service, owner = service_of(request), owner_of(request)
    serving = service.accepting()
    body = await read_body(request, ChatRequest, service.settings.max_body_bytes)
    ends = check_generating(body, service)
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs: only with logprobs true.", param="top_logprobs")
    params = params_of(
        body,
        service,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    view = await view_session(body, body.session_id, serving, request)
    ids: Sequence[int] = ()
    messages = said(body.messages)
    partition = Partition(owner.key, body.cache_salt)
    if view.repeated is None:
        limit = serving.prompts.limit("messages")
        encoding = serving.chat.encode(messages, partition, continues=not view.is_empty, limit=limit)
        ids = await in_time(request, ends, encoding)
    prompts = [EncodedPrompt(serving.prompts.checked(ids, "messages"))]
    head = heading("chatcmpl", body, serving, request, view)
    plan = plan_of(head, body, prompts, params, view, ends, owner)
    null_usage = bool(body.stream_options and body.stream_options.include_usage)
    # Without a session the client will send the whole conversation again.
    readahead = serving.readahead if body.session_id is None else None
    form = ChatFormat(
        head,
        serving.tokenizer,
        logprobs=bool(body.logprobs),
        null_usage=null_usage,
        collects=readahead is not None,
    )
    if readahead is None:
        return answer(body, plan, form, service, entry_bytes=CHAT_ENTRY)
    follow = partial(readahead.follow, partition, messages)

    async def read_ahead(_: TokenUsage) -> None:
        for index in sorted(form.replies):
            await follow(form.replies[index])

    return answer(body, plan, form, service, entry_bytes=CHAT_ENTRY, on_end=read_ahead)
