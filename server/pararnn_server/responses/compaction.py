"""Compaction items: a conversation's state, sealed, that the client keeps and sends back as input."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response
from starlette.types import Scope, Send

from pararnn_server.access.seal import SealBroken, sealed_chars
from pararnn_server.engine.generation import Generation
from pararnn_server.engine.request import Failed, Finished, TokenUsage
from pararnn_server.errors import BadRequest, Internal, ServerError
from pararnn_server.http.answer import Answer
from pararnn_server.http.formats.json_parts import nothing_more
from pararnn_server.http.formats.response import Resumed, usage_of
from pararnn_server.http.held_answer import held_answer
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.schemas.response_input import CompactionItem, InputItem
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.sealed_state import (
    SealedState,
    StateExpired,
    digest_of_instructions,
    digest_of_tools,
    open_state,
)
from pararnn_server.sessions.turn import TurnResult


def compaction_in(given: str | Sequence[InputItem] | None) -> tuple[int, CompactionItem] | None:
    """Return the compaction item of an input and its place; None if there is none.

    Raises BadRequest for two of them, and for items before it: its state has read those already.
    """
    if given is None or isinstance(given, str):
        return None
    found = [(place, item) for place, item in enumerate(given) if isinstance(item, CompactionItem)]
    if not found:
        return None
    if len(found) > 1:
        param = f"input.{found[1][0]}"
        raise BadRequest(f"{param}: a second compaction item; send only the latest.", param=param)
    place, item = found[0]
    if place:
        before = "input.0" if place == 1 else f"input.0 to input.{place - 1}"
        message = f"{before}: the compaction at input.{place} has read what comes before it; take it out."
        raise BadRequest(message, param="input.0")
    return place, item


async def open_compaction(
    context: RequestContext, previous_id: str | None, place: int, item: CompactionItem
) -> SealedState:
    """Return the state in an item. Raises BadRequest for one that does not open, or has expired."""
    param = f"input.{place}.encrypted_content"
    if previous_id is not None:
        message = "previous_response_id: not with a compaction item, which holds the conversation."
        raise BadRequest(message, param="previous_response_id")
    limit = context.settings.max_compaction_bytes
    if len(item.encrypted_content) > limit:
        message = f"{param}: it has more than {limit} bytes (--max-compaction-bytes)."
        raise BadRequest(message, param=param, code="compaction_too_large")
    opening = partial(
        open_state,
        context.service.sealer,
        item.encrypted_content,
        context.model.sessions.kind,
        context.owner.key,
        limit,
    )
    try:
        return await context.service.parsers.run(opening)
    except StateExpired:
        message = f"{param}: it has expired; send the conversation itself."
        raise BadRequest(message, param=param, code="compaction_expired") from None
    except SealBroken as error:
        hint = " (without --seal-secret-file a secret ends with its server)" if error.is_foreign else ""
        message = f"{param}: {error}{hint}; send the item as it was given, or the conversation itself."
        raise BadRequest(message, param=param, code="invalid_compaction") from None
    except ServerError as error:
        # A field of the sealed file is none of the request.
        message = f"{param}: its state does not fit this server: {error.message}"
        raise BadRequest(message, param=param, code="invalid_compaction") from error


def check_instructions(sealed: SealedState, instructions: str | None) -> None:
    """Raise BadRequest for instructions that the state has not read: it cannot forget its own."""
    if digest_of_instructions(instructions) != sealed.instructions:
        message = "instructions: they differ from those that the compaction item has read; send the same."
        raise BadRequest(message, param="instructions", code="compaction_mismatch")


def check_tools(sealed: SealedState, tools: Sequence[Mapping[str, Any]] | None) -> None:
    """Raise BadRequest for tools that the state has not read."""
    if digest_of_tools(tools or ()) != sealed.tools:
        message = "tools: they differ from those that the compaction item has read; send the same."
        raise BadRequest(message, param="tools", code="compaction_mismatch")


def after(start: SavedState | None, result: TurnResult, kind: ModelKind) -> SavedState:
    """Return the state after a turn from `start`, which is None for the state before any token."""
    was_turn, was_tokens, changed = 0, 0, False
    if start is not None:
        was_turn, was_tokens = start.turn, start.num_tokens
        changed = start.build_changed or start.build != kind.build
    return SavedState(
        turn=was_turn + 1,
        num_tokens=was_tokens + len(result.token_ids),
        pending_ids=result.pending_ids,
        build=kind.build,
        build_changed=changed,
        snapshot=result.snapshot,
    )


def check_size(context: RequestContext, param: str) -> None:
    """Raise BadRequest before anything is read for a model whose state no item may hold."""
    limit, size = context.settings.max_compaction_bytes, sealed_chars(context.model.sessions.kind.state_bytes)
    if size > limit:
        message = (
            f"{param}: the state takes {size} bytes as a compaction item, and --max-compaction-bytes is"
            f" {limit}: keep the conversation in a session; export that with GET /v1/sessions/{{id}}/state."
        )
        raise BadRequest(message, param=param, code="compaction_too_large")


async def sealed_end(
    context: RequestContext, start: SavedState | None, end: Finished, opening: tuple[str, str]
) -> dict[str, Any]:
    """Return the compaction item of the state after a reply.

    start: the state that the request brought. opening: digests of the instructions and tools.
    """
    kind, result = context.model.sessions.kind, end.result
    assert result is not None, "the request asked for its state"
    state = after(start, result, kind)
    if (session := end.session) is not None:
        # The session counts the turns and tokens before this one.
        state = replace(
            state, turn=session.turn, num_tokens=session.num_tokens, build_changed=session.build_changed
        )
    sealed = SealedState(state, *opening, False, expiry(context))
    return await context.service.parsers.run(partial(sealed_item, context, sealed))


def sealed_item(context: RequestContext, sealed: SealedState) -> dict[str, Any]:
    """Return the item of a sealed state. Raises BadRequest for one that is too large."""
    kind, limit = context.model.sessions.kind, context.settings.max_compaction_bytes
    text = sealed.seal(context.service.sealer, kind, context.owner.key, limit)
    return {"id": f"cmp_{secrets.token_hex(16)}", "type": "compaction", "encrypted_content": text}


def expiry(context: RequestContext) -> int | None:
    """Return the time at which an item that is made now expires, in whole seconds since 1970."""
    seconds = context.settings.compaction_ttl_seconds
    # A whole number: the length of an item must not depend on the time.
    return int(time.time() + seconds) if seconds else None


async def compaction_answer(
    context: RequestContext, sealed: SealedState, resumed: Resumed, usage: TokenUsage
) -> Response:
    """Return the answer with the item of a state. Raises BadRequest for a state that is too large."""
    body = {
        "id": f"resp_{secrets.token_hex(16)}",
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [],
        "usage": usage_of(resumed, usage),
    }
    if has_changed_build(context, sealed.state):
        body["build_changed"] = True

    def content() -> bytes:
        whole = {**body, "output": [sealed_item(context, sealed)]}
        return json.dumps(whole, separators=(",", ":")).encode()

    num_bytes = sealed_chars(context.model.sessions.kind.state_bytes)
    return await held_answer(context.request, num_bytes, content, media_type="application/json")


class CompactAnswer(Answer):
    """The compaction of a conversation that is read first.

    seal: makes the seal of the state at the end. start: the state that the conversation follows.
    """

    def __init__(
        self,
        generation: Generation,
        context: RequestContext,
        start: SavedState | None,
        resumed: Resumed,
        seal: Callable[[SavedState], SealedState],
    ) -> None:
        super().__init__(generation)
        self._context = context
        self._start = start
        self._resumed = resumed
        self._seal = seal

    async def _write(self, scope: Scope, send: Send) -> None:
        state = after(self._start, await self._result(), self._context.model.sessions.kind)
        usage = self._generation.usage
        answer = await compaction_answer(self._context, self._seal(state), self._resumed, usage)
        self._settle(scope)
        await answer(scope, nothing_more, send)

    async def _result(self) -> TurnResult:
        while True:
            for _, output in await self._generation.outputs():
                if isinstance(output, Failed):
                    raise output.error
                if isinstance(output, Finished):
                    if output.result is None:
                        raise Internal("the conversation was not read to its end")
                    return output.result


def has_changed_build(context: RequestContext, state: SavedState | None) -> bool:
    """Return True if another build or instruction set had a part in a state."""
    if state is None or not state.num_tokens:
        return False
    return state.build_changed or state.build != context.model.sessions.kind.build
