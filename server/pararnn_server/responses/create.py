"""A request for a response to its generation: the state that it resumes, the items read, the items stored."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from starlette.responses import Response

from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest, Expired, NotFound
from pararnn_server.http.answer import Answer, Job, PlainAnswer
from pararnn_server.http.bodies import OFF_LOOP_BYTES
from pararnn_server.http.formats.pieces import PieceReader
from pararnn_server.http.formats.response import ModelResponseFormat, Resumed
from pararnn_server.http.prompt_cache import is_explicit, marked_items
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.request_state import request_state
from pararnn_server.http.schemas.response_input import InputItem
from pararnn_server.http.schemas.response_items import AnyItem, Item
from pararnn_server.http.schemas.responses import ResponseContext, ResponseRequest
from pararnn_server.http.schemas.structured import TextFormat
from pararnn_server.http.stream import StreamAnswer
from pararnn_server.http.structured_output import reply_form_of_text
from pararnn_server.http.tool_calls import tool_plan
from pararnn_server.responses import records
from pararnn_server.responses.compaction import (
    check_instructions,
    check_size,
    check_tools,
    compaction_in,
    has_changed_build,
    open_compaction,
    sealed_end,
)
from pararnn_server.responses.given import items_of
from pararnn_server.responses.lifecycle import KeptAnswer, ResponseLifecycle
from pararnn_server.responses.records import StoredResponse
from pararnn_server.responses.tools import given_tools, has_same_tools, messages_of, tool_use_of
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.sealed_state import SealedState, digest_of_instructions, digest_of_tools
from pararnn_server.state_cache.breakpoints import Breakpoint, CacheUse
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.conversation import Message
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.tools.tool import Tool

# Of a response that is not kept yet, beyond the longest life of its request.
GRACE_SECONDS = 60.0


class Start(NamedTuple):
    """ids: to be read. resumed_id: of the response whose state they follow; None: of none.

    breakpoints: places of the ids that are pinned in the state cache.
    sealed: the compaction whose state they follow.
    """

    ids: Sequence[int]
    resumed_id: str | None
    resumed: Resumed
    breakpoints: Sequence[Breakpoint] = ()
    sealed: SealedState | None = None

    @property
    def state(self) -> SavedState | None:
        """The state that the request brought."""
        return None if self.sealed is None else self.sealed.state


def new_response_id() -> str:
    """128 random bits."""
    return f"resp_{secrets.token_hex(16)}"


async def new_response(
    context: RequestContext, body: ResponseRequest, idempotency_key: IdempotencyKey | None
) -> Response:
    """Return the answer to a request for a response. Raises ServerError.

    idempotency_key: of a request that may come again.
    """
    context.service.check_accepting()
    model, settings, response_id = context.model, context.settings, new_response_id()
    given = await given_of(context, body.input, response_id)
    use = tool_use_of(body, settings.max_tools_bytes)
    tools = await tool_plan(context, use, reply_form_of_text(_text_format(body)))
    start = await start_of(context, body, given, tools.shown)
    cache_use = CacheUse(start.breakpoints, is_explicit(body.prompt_cache_options))
    prompt = EncodedPrompt(model.prompts.checked(start.ids, "input"), cache_use=cache_use)
    stores = body.store is not False
    # The state of a response is in a session, even if the reply is not stored.
    needs_session = stores or start.resumed_id is not None
    threshold = compact_threshold(context, body)
    plan = GenerationPlan(
        request_id=response_id,
        prompts=[prompt],
        params=context.params,
        num_choices=1,
        owner=context.owner,
        deadline=context.deadline,
        session_id=response_id if needs_session else None,
        cache_salt=body.cache_salt,
        token_mask=tools.token_mask,
        start=None if needs_session else start.state,
        returns_state=threshold is not None,
    )
    head = _head(context, body, response_id)
    if has_changed_build(context, start.state):
        head["build_changed"] = True
    form = ModelResponseFormat(head, len(given), start.resumed, tools.call_format)
    lifecycle = ResponseLifecycle(
        model=model,
        response_id=response_id,
        owner=context.owner,
        given=tuple(given),
        digest=None if idempotency_key is None else idempotency_key.digest,
        ttl_seconds=settings.response_ttl_seconds if stores else None,
        is_compacted=start.sealed is not None,
    )

    generation = Generation(plan, model.engine, model.dispatcher)

    async def keep(usage: TokenUsage) -> None:
        if threshold is not None:
            last = generation.last
            num_tokens = start.resumed.num_tokens + usage.prompt_tokens + usage.completion_tokens
            if last is not None and last.result is not None and num_tokens >= threshold:
                digests = digest_of_instructions(body.instructions), digest_of_tools(body.tools or ())
                form.end_with_compaction(await sealed_end(context, start.state, last, digests))
        await lifecycle.keep(form.response(usage))

    reader = PieceReader(model.tokenizer, prompt, logprobs=False, echo=False)
    job = Job(generation, form, [reader], keep)
    answer: Answer = StreamAnswer(job, settings) if body.stream else PlainAnswer(job)
    if not needs_session:
        return answer
    # A server that dies leaves the session behind: it expires when its request must have ended.
    lifetime = settings.request_timeout_seconds + GRACE_SECONDS
    try:
        await model.ask(
            records.begin,
            response_id,
            context.owner,
            lifetime,
            start.resumed_id,
            idempotency_key,
            start.state,
        )
    except BaseException:
        # A client that left while it was begun leaves nothing either.
        lifecycle.drop()
        raise
    return KeptAnswer(answer, lifecycle)


def compact_threshold(context: RequestContext, body: ResponseRequest) -> int | None:
    """Return the tokens from which on the response ends with a compaction; None: never. Raises BadRequest."""
    if not body.context_management:
        return None
    check_size(context, "context_management")
    return body.context_management[0].compact_threshold or 0


async def given_of(
    context: RequestContext, given: str | Sequence[InputItem], response_id: str
) -> list[AnyItem]:
    """Return the items of the input, without a compaction. Raises BadRequest."""
    may_be_empty = compaction_in(given) is not None
    return await items_of(context, given, response_id, may_be_empty=may_be_empty)


async def start_of(
    context: RequestContext, body: ResponseContext, given: list[AnyItem], tools: Sequence[Tool]
) -> Start:
    """Resume the state of the previous response where its instructions and tools are the same.

    A state cannot forget others: then the conversation is read again, one of a key at a time.
    tools: those that the model is shown.
    """
    model, owner = context.model, context.owner
    if (found := compaction_in(body.input)) is not None:
        sealed = await open_compaction(context, body.previous_response_id, *found)
        check_instructions(sealed, body.instructions)
        check_tools(sealed, body.tools)
        return await after_compaction(context, sealed, given, tools)
    previous_id = body.previous_response_id
    opening = [Item("", "system", body.instructions)] if body.instructions else []
    if previous_id is None:
        return await _read_whole(context, body, tools, opening, given)
    previous = await previous_response(context, previous_id)
    if previous.can_resume and has_same_opening(previous, body.instructions, body.tools):
        try:
            ids = await encode(context, await messages_of_items(context, [given]), tools, continues=True)
        except BadRequest:
            # The template puts these messages first, or cannot continue a reply: all is read again.
            pass
        else:
            # The last token of a reply is not in the state yet: it is fed with the next turn.
            covered = previous.num_tokens - previous.num_pending
            return Start(ids, previous_id, Resumed(previous.num_tokens, covered))
    # Several long conversations at once would fill the memory with their documents.
    async with context.service.rereads.of(owner.key):
        max_bytes = context.settings.max_body_bytes
        earlier = await model.ask(records.conversation, previous_id, owner, max_bytes)
        return await _read_whole(context, body, tools, opening, earlier, given)


async def after_compaction(
    context: RequestContext,
    sealed: SealedState,
    given: list[AnyItem],
    tools: Sequence[Tool],
    *,
    continues_last: bool = False,
) -> Start:
    """Return the start of a request with a compaction. Raises BadRequest."""
    if sealed.awaits_reply and given and isinstance(given[0], Item) and given[0].role == "assistant":
        message = "input: the compaction awaits this reply; compact the conversation with the reply in it."
        raise BadRequest(message, param="input", code="compaction_mismatch")
    ids: Sequence[int] = ()
    if given:
        messages = await messages_of_items(context, [given])
        ids = await encode(context, messages, tools, continues=True, continues_last=continues_last)
    num_tokens = sealed.state.num_tokens
    resumed = Resumed(num_tokens, num_tokens - len(sealed.state.pending_ids))
    return Start(ids, None, resumed, sealed=sealed)


async def _read_whole(
    context: RequestContext, body: ResponseContext, tools: Sequence[Tool], *parts: Sequence[AnyItem]
) -> Start:
    """Return the start of a conversation that is read from its first id."""
    messages = await messages_of_items(context, parts)
    ids = await encode(context, messages, tools)
    if not isinstance(body, ResponseRequest):
        # A request that only counts its tokens pins nothing.
        return Start(ids, None, Resumed())
    places = marked_items([*chain(*parts)], messages, body.prompt_cache_options)
    partition = Partition(context.owner.key)
    breakpoints = await context.model.chat.breakpoints(messages, places, partition, tools=tools)
    return Start(ids, None, Resumed(), breakpoints)


async def messages_of_items(context: RequestContext, parts: Sequence[Sequence[AnyItem]]) -> list[Message]:
    """Return the messages of items. Raises BadRequest."""
    parse = partial(messages_of, context.settings.max_body_values, *parts)
    is_large = sum(item.num_chars for part in parts for item in part) > OFF_LOOP_BYTES
    return await context.service.parsers.run(parse) if is_large else parse()


async def encode(
    context: RequestContext,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    *,
    continues: bool = False,
    continues_last: bool = False,
) -> Sequence[int]:
    """Return the ids of messages. Raises BadRequest, whose param is a field of responses."""
    chat, limit = context.model.chat, context.model.prompts.limit("input")
    try:
        return await chat.encode(
            messages,
            Partition(context.owner.key),
            tools=tools,
            continues=continues,
            continues_last=continues_last,
            limit=limit,
        )
    except BadRequest as error:
        # The messages were made of the input, and have other places.
        if (error.param or "").startswith("messages"):
            error.param = "input"
        raise


def has_same_opening(
    previous: StoredResponse, instructions: str | None, tools: Sequence[Mapping[str, Any]] | None
) -> bool:
    """Return True if the state of a response has read these instructions and tools."""
    has_same = (previous.body["instructions"] or None) == (instructions or None)
    return has_same and has_same_tools(tools, previous.body)


async def previous_response(context: RequestContext, response_id: str) -> StoredResponse:
    """Return the response that a request names as its previous one. Raises NotFound or Expired."""
    try:
        return await context.model.ask(records.load, response_id, context.owner)
    except (NotFound, Expired) as error:
        error.param = "previous_response_id"
        raise


def _text_format(body: ResponseRequest) -> TextFormat | None:
    return None if body.text is None else body.text.format


def _head(context: RequestContext, body: ResponseRequest, response_id: str) -> dict[str, Any]:
    """The response before it has a reply."""
    params = context.params
    given = (body.max_tokens, body.max_completion_tokens, body.max_output_tokens)
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": None if given == (None, None, None) else params.max_tokens,
        "model": context.model.name,
        "output": [],
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": params.temperature,
        "text": {"format": _text_format(body) or {"type": "text"}},
        **given_tools(body),
        "top_p": params.top_p,
        "truncation": "disabled",
        "usage": None,
        # Replaced by the request's own, which is among the recorded fields below.
        "metadata": {},
        **request_state(context.request.scope).recorded,
    }
