"""/v1/messages: chats of Anthropic's clients, and the count of their tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import read_body
from pararnn_server.http.chat_fields import messages_of, tool_use
from pararnn_server.http.formats.base import Heading
from pararnn_server.http.formats.message import MessageFormat
from pararnn_server.http.messages_to_chat import (
    MOST_MARKS,
    begins_reply,
    chat_messages,
    chat_of,
    chat_tool_choice,
    chat_tools,
    without_positions,
)
from pararnn_server.http.openapi import GENERATING, WITH_BODY, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext, request_context
from pararnn_server.http.request_state import request_state
from pararnn_server.http.routes.chat_answer import answer_chat
from pararnn_server.http.schemas.messages import (
    MessageCount,
    MessageCountRequest,
    MessageError,
    MessageEvent,
    MessageRequest,
    MessageResponse,
)
from pararnn_server.http.tool_calls import shown_tools
from pararnn_server.models.service import service_of
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.tools.call_format import CallFormat

# Clients of beta versions of the interface send it with each request.
Beta = Annotated[bool, Query(alias="beta")]

router = APIRouter(route_class=StrictRoute, prefix="/v1/messages", tags=["generate"])


@router.post(
    "",
    **documented(
        MessageResponse, GENERATING, body=MessageRequest, events=(MessageEvent,), error=MessageError
    ),
)
async def create_message(request: Request, _beta: Beta = False) -> Response:
    """Answer a conversation. A last message of the assistant is continued."""
    service_of(request).check_accepting()
    body = await read_body(request, MessageRequest)
    chat, request_id = chat_of(body), request_state(request.scope).request_id

    def form_of(
        _: RequestContext,
        head: Heading,
        prompt: EncodedPrompt,
        *,
        collects: bool,
        call_format: CallFormat | None,
    ) -> MessageFormat:
        return MessageFormat(head, request_id, collects=collects, call_format=call_format)

    try:
        return await answer_chat(request, chat, "msg_", form_of, most_marks=MOST_MARKS)
    except BadRequest as error:
        raise without_positions(error) from error


@router.post(
    "/count_tokens",
    **documented(MessageCount, (*WITH_BODY, 504), body=MessageCountRequest, error=MessageError),
)
async def count_message_tokens(request: Request, _beta: Beta = False) -> Response:
    """Count the ids that a message with these fields would have the model read."""
    service_of(request).models.get()
    body = await read_body(request, MessageCountRequest)
    context = request_context(request, body.model)
    return JSONResponse({"input_tokens": await context.in_time(_count(context, body))})


async def _count(context: RequestContext, body: MessageCountRequest) -> int:
    limit = context.model.prompts.limit("messages")
    messages, partition = (
        await messages_of(context.request, chat_messages(body)),
        Partition(context.owner.key),
    )
    try:
        use = tool_use(chat_tools(body), chat_tool_choice(body), context.settings.max_tools_bytes)
        ids = await context.model.chat.encode(
            messages,
            partition,
            tools=shown_tools(context, use),
            continues_last=begins_reply(body),
            limit=limit,
        )
    except BadRequest as error:
        raise without_positions(error) from error
    limit.check(len(ids))
    return len(ids)
