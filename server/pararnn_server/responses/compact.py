"""POST /v1/responses/compact: a conversation to the compaction item of its state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from starlette.responses import Response

from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest
from pararnn_server.http.formats.response import Resumed
from pararnn_server.http.prompt_cache import is_explicit, marked_items
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.schemas.response_input import CompactionItem
from pararnn_server.http.schemas.response_items import AnyItem, Item
from pararnn_server.http.schemas.responses import CompactRequest
from pararnn_server.http.tool_calls import shown_tools
from pararnn_server.responses import records
from pararnn_server.responses.compaction import (
    CompactAnswer,
    check_instructions,
    check_size,
    check_tools,
    compaction_answer,
    compaction_in,
    expiry,
    open_compaction,
)
from pararnn_server.responses.create import (
    after_compaction,
    encode,
    given_of,
    has_same_opening,
    messages_of_items,
    new_response_id,
    previous_response,
)
from pararnn_server.responses.tools import tool_use_of
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.sealed_state import SealedState, digest_of_instructions, digest_of_tools
from pararnn_server.state_cache.breakpoints import Breakpoint, CacheUse
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.tools.tool import Tool


class _Start(NamedTuple):
    """ids: to be read after `state`. instructions, tools: digests of what the state has read then.

    breakpoints: places of the ids that are pinned in the state cache.
    """

    ids: Sequence[int]
    state: SavedState | None
    resumed: Resumed
    instructions: str
    tools: str
    awaits_reply: bool
    breakpoints: Sequence[Breakpoint] = ()


async def new_compaction(context: RequestContext, body: CompactRequest) -> Response:
    """Return the answer to a request for a compaction. Raises ServerError."""
    if body.input is None and body.previous_response_id is None:
        raise BadRequest("input: send it, or previous_response_id.", param="input")
    check_size(context, "model")
    start = await _start_of(context, body)
    seal = partial(
        SealedState,
        instructions=start.instructions,
        tools=start.tools,
        awaits_reply=start.awaits_reply,
        expires_at=expiry(context),
    )
    if start.state is not None and not start.ids:
        return await compaction_answer(context, seal(start.state), start.resumed, TokenUsage(0, 0))
    cache_use = CacheUse(start.breakpoints, is_explicit(body.prompt_cache_options))
    plan = GenerationPlan(
        request_id=new_response_id(),
        prompts=[EncodedPrompt(context.model.prompts.checked(start.ids, "input"), cache_use=cache_use)],
        params=context.params,
        num_choices=1,
        owner=context.owner,
        deadline=context.deadline,
        cache_salt=body.cache_salt,
        start=start.state,
        returns_state=True,
    )
    generation = Generation(plan, context.model.engine, context.model.dispatcher)
    return CompactAnswer(generation, context, start.state, start.resumed, seal)


async def _start_of(context: RequestContext, body: CompactRequest) -> _Start:
    given = [] if body.input is None else await given_of(context, body.input, new_response_id())
    tools = shown_tools(context, tool_use_of(body, context.settings.max_tools_bytes))
    if (found := compaction_in(body.input)) is not None:
        return await _after_item(context, body, *found, given, tools)
    if body.previous_response_id is not None:
        return await _after_response(context, body, body.previous_response_id, given, tools)
    opening = [Item("", "system", body.instructions)] if body.instructions else []
    messages = await messages_of_items(context, [opening, given])
    ids = await encode(context, messages, tools, continues_last=_ends_with_reply(given))
    places = marked_items([*opening, *given], messages, body.prompt_cache_options)
    partition = Partition(context.owner.key, body.cache_salt)
    breakpoints = await context.model.chat.breakpoints(messages, places, partition, tools=tools)
    digests = digest_of_instructions(body.instructions), digest_of_tools(body.tools or ())
    return _Start(ids, None, Resumed(), *digests, not _ends_with_reply(given), breakpoints)


async def _after_item(
    context: RequestContext,
    body: CompactRequest,
    place: int,
    item: CompactionItem,
    given: list[AnyItem],
    tools: Sequence[Tool],
) -> _Start:
    """Return the start at the state of an item. Instructions and tools that are left out are its own."""
    sealed = await open_compaction(context, body.previous_response_id, place, item)
    if body.instructions is not None:
        check_instructions(sealed, body.instructions)
    if body.tools is not None:
        check_tools(sealed, body.tools)
    ends = _ends_with_reply(given)
    start = await after_compaction(context, sealed, given, tools, continues_last=ends)
    awaits = not ends if given else sealed.awaits_reply
    return _Start(start.ids, sealed.state, start.resumed, sealed.instructions, sealed.tools, awaits)


async def _after_response(
    context: RequestContext,
    body: CompactRequest,
    previous_id: str,
    given: list[AnyItem],
    tools: Sequence[Tool],
) -> _Start:
    """Return the start at the end of a response. Instructions and tools that are left out are its own."""
    previous = await previous_response(context, previous_id)
    instructions = body.instructions if body.instructions is not None else previous.body["instructions"]
    shown = body.tools if body.tools is not None else previous.body["tools"]
    if not has_same_opening(previous, instructions, shown):
        message = (
            "previous_response_id: its state has read other instructions or tools; send the same, or leave"
            " them out, or send the whole conversation as input."
        )
        raise BadRequest(message, param="previous_response_id", code="compaction_mismatch")
    state = await context.model.ask(records.saved_state, previous_id, context.owner)
    ids: Sequence[int] = ()
    if given:
        messages = await messages_of_items(context, [given])
        ends = _ends_with_reply(given)
        ids = await encode(context, messages, tools, continues=True, continues_last=ends)
    resumed = Resumed(state.num_tokens, state.num_tokens - len(state.pending_ids))
    digests = digest_of_instructions(instructions), digest_of_tools(shown)
    return _Start(ids, state, resumed, *digests, bool(given) and not _ends_with_reply(given))


def _ends_with_reply(given: Sequence[AnyItem]) -> bool:
    """Return True if the items end with a text of the assistant, behind which the next message begins."""
    return bool(given) and isinstance(given[-1], Item) and given[-1].role == "assistant"
