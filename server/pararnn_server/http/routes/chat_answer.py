"""The steps from a chat to its answer, which each route writes in a format of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from fastapi import Request, Response

from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import CHAT_ENTRY
from pararnn_server.http.chat_fields import messages_of, reply_message, template_variables, tool_use
from pararnn_server.http.formats.base import AnswerFormat, Heading
from pararnn_server.http.prompt_cache import MOST_PLACES, is_explicit, marked_places
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.routes.generate import answer, fitted_plan, generation_context, heading, plan_of
from pararnn_server.http.sampling_fields import Sampling
from pararnn_server.http.schemas.chat import ChatRequest
from pararnn_server.http.structured_output import reply_form
from pararnn_server.http.tool_calls import tool_plan
from pararnn_server.state_cache.breakpoints import CacheUse
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.conversation import Message
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.tool import Tool, digest_of


class FormatOf(Protocol):
    """Makes the format of an answer."""

    def __call__(
        self,
        context: RequestContext,
        head: Heading,
        prompt: EncodedPrompt,
        /,
        *,
        collects: bool,
        call_format: CallFormat | None,
    ) -> AnswerFormat:
        """Return the format.

        collects: it keeps the texts of its replies. call_format: of the calls in them; None: there are none.
        """


async def answer_chat(
    request: Request,
    body: ChatRequest,
    id_prefix: str,
    form_of: FormatOf,
    *,
    most_marks: int = MOST_PLACES - 1,
) -> Response:
    """Return the answer to a chat. Raises ServerError.

    most_marks: for the cache that count, beside the implicit state.
    """
    context = await generation_context(request, body, _sampling)
    messages = await messages_of(request, body.messages)
    partition = Partition(context.owner.key, body.cache_salt)
    continues_last = bool(body.continue_final_message)
    variables = _variables(context, body)
    use = tool_use(
        body.tools,
        body.tool_choice,
        context.settings.max_tools_bytes,
        parallel=body.parallel_tool_calls,
    )
    tools = await context.in_time(tool_plan(context, use, reply_form(body)))
    prompt = await context.in_time(
        _read_prompt(context, body, messages, partition, tools.shown, variables, most_marks)
    )
    head = heading(context, id_prefix, body)
    plan = plan_of(context, head, body, [prompt], tools.token_mask)
    if context.session.is_empty and body.session_id is not None:
        plan = replace(plan, tools=digest_of(tools.shown))
    plan = fitted_plan(context, plan, body, CHAT_ENTRY, echo=False)
    # Without a session the client will send the whole conversation again.
    reads_ahead = body.session_id is None and not is_explicit(body.prompt_cache_options)
    readahead = context.model.readahead if reads_ahead else None
    form = form_of(context, head, prompt, collects=readahead is not None, call_format=tools.call_format)
    if readahead is None:
        return answer(context, plan, form, body)
    # A reply that was begun by the client comes back as one message.
    begun = (messages.pop()["content"] or "") if continues_last else ""
    follow = partial(readahead.follow, partition, messages)

    async def read_ahead(_: TokenUsage) -> None:
        # Choices end in any order; promises must not depend on it.
        for index in sorted(form.replies):
            # A call that was cut cannot be sent back.
            with suppress(BadRequest):
                text = begun + form.replies[index]
                reply = reply_message(tools.call_format, text, head.id, index)
                await follow(reply, tools.shown, variables)

    return answer(context, plan, form, body, on_end=read_ahead)


def _sampling(body: ChatRequest) -> Sampling:
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs: only with logprobs true.", param="top_logprobs")
    if body.continue_final_message and body.add_generation_prompt:
        message = "continue_final_message: not with add_generation_prompt true; send one of them."
        raise BadRequest(message, param="continue_final_message")
    return Sampling((body.top_logprobs or 0) if body.logprobs else None, body.prompt_logprobs)


def _variables(context: RequestContext, body: ChatRequest) -> Mapping[str, Any]:
    template = context.model.chat.template
    reserved: AbstractSet[str] = frozenset() if template is None else template.reserved
    return template_variables(body, reserved, context.settings.max_template_kwargs_bytes)


async def _read_prompt(
    context: RequestContext,
    body: ChatRequest,
    messages: Sequence[Message],
    partition: Partition,
    tools: Sequence[Tool],
    variables: Mapping[str, Any],
    most_marks: int,
) -> EncodedPrompt:
    """Encode what the messages add; nothing where the answer is repeated."""
    prompts, session = context.model.prompts, context.session
    if session.repeated is not None:
        return EncodedPrompt(())
    ids = await context.model.chat.encode(
        messages,
        partition,
        tools=tools,
        variables=variables,
        opens=body.add_generation_prompt is not False,
        continues=not session.is_empty,
        continues_last=bool(body.continue_final_message),
        limit=prompts.limit("messages"),
    )
    explicit = is_explicit(body.prompt_cache_options)
    # The state of a session is kept with it, and a place in its messages is none of a whole prompt.
    places = marked_places(body.messages, body.prompt_cache_options, most_marks) if session.is_empty else []
    breakpoints = await context.model.chat.breakpoints(messages, places, partition, tools, variables)
    return EncodedPrompt(prompts.checked(ids, "messages"), cache_use=CacheUse(breakpoints, explicit))
