"""A request for a response to the generation of it: what it goes on from, what is read, what is kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.access.owner import Owner
from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest, Expired, NotFound
from pararnn_server.http.answer import Answer, Job, PlainAnswer
from pararnn_server.http.formats.pieces import PieceReader
from pararnn_server.http.formats.response import ResponseFormat, Resumed
from pararnn_server.http.schemas.response_items import Item, item_id
from pararnn_server.http.schemas.responses import ResponseContext, ResponseRequest
from pararnn_server.http.stream import StreamAnswer
from pararnn_server.models.service import Service, Serving
from pararnn_server.responses import records
from pararnn_server.responses.given import items_of
from pararnn_server.responses.lifecycle import Keeper, KeptAnswer
from pararnn_server.responses.records import StoredResponse
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.chat_template import Message, message
from pararnn_server.text.prompts import EncodedPrompt

# Of a response that is not kept yet, beyond the longest life of its request.
GRACE_SECONDS = 60.0


class Start(NamedTuple):
    """ids: to be read. resumed_id: of the response whose state they follow; None: of none."""

    ids: Sequence[int]
    resumed_id: str | None
    resumed: Resumed


def new_response_id() -> str:
    """128 random bits."""
    return f"resp_{secrets.token_hex(16)}"


async def new_response(
    body: ResponseRequest,
    params: SamplingParams,
    recorded: Mapping[str, Any],
    response_id: str,
    idempotency_key: IdempotencyKey | None,
    owner: Owner,
    ends: float,
    service: Service,
) -> Response:
    """Raises ServerError.

    owner: as the store knows it. idempotency_key: of a request that may come again.
    ends: as of GenerationPlan.deadline.
    """
    serving = service.accepting()
    max_bytes = service.settings.max_body_bytes
    given = await items_of(body.input, response_id, owner, ends, max_bytes, serving)
    start = await start_of(body, given, owner, service)
    prompt = EncodedPrompt(serving.prompts.checked(start.ids, "input"))
    stores = body.store is not False
    needs_session = stores or start.resumed_id is not None
    plan = GenerationPlan(
        request_id=response_id,
        prompts=[prompt],
        params=params,
        num_choices=1,
        owner=owner,
        deadline=ends,
        session_id=response_id if needs_session else None,
        cache_salt=body.cache_salt,
    )
    head = _head(body, params, recorded, response_id, serving)
    form = ResponseFormat(head, item_id(response_id, len(given)), start.resumed)
    keeper = Keeper(
        serving=serving,
        response_id=response_id,
        owner=owner,
        given=tuple(given),
        digest=None if idempotency_key is None else idempotency_key.digest,
        ttl_seconds=service.settings.response_ttl_seconds if stores else None,
    )

    async def keep(usage: TokenUsage) -> None:
        await keeper.keep(form.response(usage))

    reader = PieceReader(serving.tokenizer, prompt, logprobs=False, echo=False)
    job = Job(Generation(plan, serving.engine, serving.dispatcher), form, [reader], keep)
    answer: Answer = StreamAnswer(job, service.settings) if body.stream else PlainAnswer(job)
    if not needs_session:
        return answer
    lifetime = service.settings.request_timeout_seconds + GRACE_SECONDS
    try:
        await serving.ask(records.begin, response_id, owner, lifetime, start.resumed_id, idempotency_key)
    except BaseException:
        # A client that left while it was begun leaves nothing either.
        keeper.drop()
        raise
    return KeptAnswer(answer, keeper)


async def start_of(body: ResponseContext, given: list[Item], owner: Owner, service: Service) -> Start:
    """Resume the state of the previous response where its instructions are the same.

    A state cannot forget others: then the conversation is read again, one of a key at a time.
    """
    serving = service.reading()
    previous_id, opening = body.previous_response_id, []
    if body.instructions:
        opening = [Item("", "system", body.instructions)]
    partition = Partition(owner.key)
    limit = serving.prompts.limit("input")
    if previous_id is None:
        ids = await serving.chat.encode(_messages(opening, given), partition, limit=limit)
        return Start(ids, None, Resumed())
    previous = await _previous(previous_id, owner, serving)
    if previous.can_resume and (previous.body["instructions"] or None) == (body.instructions or None):
        try:
            ids = await serving.chat.encode(_messages(given), partition, continues=True, limit=limit)
        except BadRequest:
            # The template puts these messages first, or cannot go on from a reply: all is read again.
            pass
        else:
            covered = previous.num_tokens - previous.num_pending
            return Start(ids, previous_id, Resumed(previous.num_tokens, covered))
    async with service.rereads.of(owner.key):
        max_bytes = service.settings.max_body_bytes
        said = await serving.ask(records.conversation, previous_id, owner, max_bytes)
        ids = await serving.chat.encode(_messages(opening, said, given), partition, limit=limit)
    return Start(ids, None, Resumed())


def _messages(*parts: Sequence[Item]) -> list[Message]:
    return [message(item.role, item.text) for part in parts for item in part]


async def _previous(response_id: str, owner: Owner, serving: Serving) -> StoredResponse:
    try:
        return await serving.ask(records.load, response_id, owner)
    except (NotFound, Expired) as error:
        error.param = "previous_response_id"
        raise


def _head(
    body: ResponseRequest,
    params: SamplingParams,
    recorded: Mapping[str, Any],
    response_id: str,
    serving: Serving,
) -> dict[str, Any]:
    """The response before it has a reply."""
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
        "model": serving.name,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": params.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_p": params.top_p,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
        **recorded,
    }
