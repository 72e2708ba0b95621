"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats.base import Heading
from pararnn_server.http.formats.chat import ChatFormat
from pararnn_server.http.openapi import GENERATING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.routes.chat_answer import answer_chat
from pararnn_server.http.schemas.chat import ChatChunk, ChatRequest, ChatResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.models.service import service_of
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.tools.call_format import CallFormat

router = APIRouter(route_class=StrictRoute, tags=["generate"])


@router.post(
    "/v1/chat/completions",
    **documented(ChatResponse, GENERATING, body=ChatRequest, events=(ChatChunk, ErrorBody)),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation. With `session_id` the messages hold only what is new."""
    service_of(request).check_accepting()
    body = await read_body(request, ChatRequest)

    def form_of(
        context: RequestContext,
        head: Heading,
        _: EncodedPrompt,
        *,
        collects: bool,
        call_format: CallFormat | None,
    ) -> ChatFormat:
        return ChatFormat(
            head,
            context.model.tokenizer,
            logprobs=bool(body.logprobs),
            null_usage=bool(body.stream_options and body.stream_options.include_usage),
            collects=collects,
            call_format=call_format,
        )

    return await answer_chat(request, body, "chatcmpl-", form_of)
