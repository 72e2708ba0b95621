"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import CHAT_ENTRY
from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats.chat import ChatFormat
from pararnn_server.http.openapi import GENERATING, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.routes.generate import answer, fitted_plan, generation_context, heading, plan_of
from pararnn_server.http.sampling_fields import Sampling
from pararnn_server.http.schemas.chat import ChatChunk, ChatRequest, ChatResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.models.service import service_of
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_prompt import template_messages
from pararnn_server.text.chat_template import Message
from pararnn_server.text.prompts import EncodedPrompt

router = APIRouter(route_class=StrictRoute, tags=["generate"])


@router.post(
    "/v1/chat/completions",
    **documented(ChatResponse, GENERATING, body=ChatRequest, events=(ChatChunk, ErrorBody)),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation. With `session_id` the messages hold only what is new."""
    service_of(request).check_accepting()
    body = await read_body(request, ChatRequest)
    context = await generation_context(request, body, _sampling)
    messages = template_messages(body.messages)
    partition = Partition(context.owner.key, body.cache_salt)
    prompt = await context.in_time(_read_prompt(context, messages, partition))
    head = heading(context, "chatcmpl", body)
    plan = fitted_plan(context, plan_of(context, head, body, [prompt]), body, CHAT_ENTRY, echo=False)
    # Without a session the client will send the whole conversation again.
    readahead = context.model.readahead if body.session_id is None else None
    form = ChatFormat(
        head,
        context.model.tokenizer,
        logprobs=bool(body.logprobs),
        null_usage=bool(body.stream_options and body.stream_options.include_usage),
        collects=readahead is not None,
    )
    if readahead is None:
        return answer(context, plan, form, body)
    follow = partial(readahead.follow, partition, messages)

    async def read_ahead(_: TokenUsage) -> None:
        # Choices end in any order; promises must not depend on it.
        for index in sorted(form.replies):
            await follow(form.replies[index])

    return answer(context, plan, form, body, on_end=read_ahead)


def _sampling(body: ChatRequest) -> Sampling:
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs: only with logprobs true.", param="top_logprobs")
    return Sampling(logprobs=(body.top_logprobs or 0) if body.logprobs else None)


async def _read_prompt(
    context: RequestContext, messages: Sequence[Message], partition: Partition
) -> EncodedPrompt:
    """Encode what the messages add; nothing where the answer is repeated."""
    prompts, session = context.model.prompts, context.session
    if session.repeated is not None:
        return EncodedPrompt(())
    limit = prompts.limit("messages")
    ids = await context.model.chat.encode(messages, partition, continues=not session.is_empty, limit=limit)
    return EncodedPrompt(prompts.checked(ids, "messages"))
