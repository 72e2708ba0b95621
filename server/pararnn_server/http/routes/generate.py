"""The steps that completions and chats share: context, heading, plan, answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request

from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.recorded_reply import recorded
from pararnn_server.engine.request import TokenUsage
from pararnn_server.engine.token_mask import TokenMask
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer import Answer, Job, PlainAnswer
from pararnn_server.http.answer_size import EntryBytes, ReportBytes, fitted
from pararnn_server.http.formats.base import AnswerFormat, Heading
from pararnn_server.http.formats.pieces import PieceReader
from pararnn_server.http.formats.token_report import TokenReport
from pararnn_server.http.idempotency import idempotency_key_of
from pararnn_server.http.request_context import (
    RequestContext,
    SessionView,
    deadline,
    request_context,
    session_context,
)
from pararnn_server.http.request_state import request_state
from pararnn_server.http.sampling_fields import Sampling, sampling_params
from pararnn_server.http.schemas.generation import HonouredFields, RecordedFields
from pararnn_server.http.schemas.sessions import SessionAppend
from pararnn_server.http.stream import StreamAnswer
from pararnn_server.sessions import catalogue
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.prompts import EncodedPrompt

_RECORDED = set(RecordedFields.model_fields)
Body = TypeVar("Body", bound=HonouredFields)


async def generation_context(
    request: Request, body: Body, read_sampling: Callable[[Body], Sampling]
) -> RequestContext:
    """Return the context of a request that generates. Raises BadRequest, NotFound or Expired.

    read_sampling: checks what only this route's body has, and says what is asked of the sampler.
    """
    if body.model is None and body.session_id is not None:
        context = await session_context(request, body.session_id)
    else:
        context = request_context(request, body.model)
    _check_fields(body, context.settings)
    # The timeout counts from here, as an error in it comes after those above.
    context = replace(context, deadline=deadline(body.timeout, context.settings))
    params = await sampling_params(body, read_sampling(body), context.model, context.settings)
    return replace(context, params=params, session=await view_session(context, body.session_id, body))


def _check_fields(body: HonouredFields, settings: Settings) -> None:
    """Check rules between fields. Raises BadRequest."""
    if body.stream_options is not None and not body.stream:
        raise BadRequest("stream_options: only with stream true.", param="stream_options")
    if (body.n or 1) > settings.max_choices:
        raise BadRequest(f"n: at most {settings.max_choices} choices.", param="n")
    if body.session_id is not None and (body.repeat_last_n or 0) > 0:
        # The ids of earlier turns are in the state only as a set.
        raise BadRequest("repeat_last_n: not with session_id; send -1 or 0.", param="repeat_last_n")
    if body.prompt_logprobs is not None and body.stream:
        raise BadRequest("prompt_logprobs: not with stream true.", param="prompt_logprobs")
    if body.prompt_logprobs is not None and body.session_id is not None:
        raise BadRequest("prompt_logprobs: not with session_id.", param="prompt_logprobs")
    if body.session_id is None and body.expected_turn is not None:
        raise BadRequest("expected_turn: only with session_id.", param="expected_turn")
    if body.session_id is not None and (body.n or 1) > 1:
        raise BadRequest("n: a session has one continuation; leave n out.", param="n")


async def view_session(
    context: RequestContext, session_id: str | None, body: HonouredFields | SessionAppend
) -> SessionView:
    """Look at the session before its prompt is read. Raises NotFound or Expired."""
    if session_id is None:
        return SessionView()
    key = await idempotency_key_of(context.request, body)
    # One question for both, so that no turn can be committed between two.
    info, repeated, tools = await context.model.ask(catalogue.view, session_id, context.owner, key)
    is_empty = info.num_tokens == 0
    expected = info.turn if is_empty and body.expected_turn is None else body.expected_turn
    return SessionView(is_empty, expected, key, None if repeated is None else recorded(repeated), tools)


def heading(context: RequestContext, prefix: str, body: RecordedFields) -> Heading:
    """Return a heading with a new id and the time, or with those of the answer that is repeated.

    What is only recorded goes to the request's log line too.
    """
    fields = record(context.request, body)
    id_, created = f"{prefix}{secrets.token_hex(12)}", int(time.time())
    if (repeated := context.session.repeated) is not None:
        # A repeated request gets the same answer, its id included.
        id_, created = repeated.request_id, repeated.created
    return Heading(id_, created, context.model.name, context.model.system_fingerprint, fields)


def record(request: Request, body: RecordedFields) -> dict[str, Any]:
    """Return fields without any effect, for the log line of the request and for the answer."""
    fields = body.model_dump(include=_RECORDED, exclude_none=True)
    request_state(request.scope).recorded = fields
    return fields


def plan_of(
    context: RequestContext,
    head: Heading,
    body: HonouredFields,
    prompts: Sequence[EncodedPrompt],
    token_mask: TokenMask | None,
) -> GenerationPlan:
    """Return the plan of the request for the engine."""
    session = context.session
    return GenerationPlan(
        request_id=head.id,
        prompts=prompts,
        params=context.params,
        num_choices=body.n or 1,
        owner=context.owner,
        deadline=context.deadline,
        session_id=body.session_id,
        expected_turn=session.expected_turn,
        cache_salt=body.cache_salt,
        created=head.created,
        idempotency_key=session.idempotency_key,
        repeated=session.repeated,
        token_mask=token_mask,
    )


def fitted_plan(
    context: RequestContext, plan: GenerationPlan, body: HonouredFields, entry: EntryBytes, *, echo: bool
) -> GenerationPlan:
    """Return the plan within the size that an answer may have. Raises BadRequest."""
    # The answer exists already: its size is known to fit.
    if plan.repeated is not None:
        return plan
    if body.return_token_ids and plan.idempotency_key is not None:
        # A repeated answer comes from the store, which has no ids of prompts.
        raise BadRequest("return_token_ids: not with an Idempotency-Key.", param="return_token_ids")
    is_chosen = (body.max_tokens, body.max_completion_tokens, body.max_output_tokens) != (None, None, None)
    limit = context.settings.max_answer_bytes
    report = ReportBytes.of(with_ids=bool(body.return_token_ids), prompt_logprobs=body.prompt_logprobs)
    return fitted(
        plan, entry, limit, echo=echo, is_stream=bool(body.stream), is_chosen=is_chosen, report=report
    )


def answer(
    context: RequestContext,
    plan: GenerationPlan,
    answer_format: AnswerFormat,
    body: HonouredFields,
    *,
    echo: bool = False,
    on_end: Callable[[TokenUsage], Awaitable[None]] | None = None,
) -> Answer:
    """Return the answer, streamed or whole, as the body asks. on_end: see Job."""
    model = context.model
    answer_format.report = TokenReport(
        model.tokenizer,
        plan.prompts,
        plan.num_choices,
        with_ids=bool(body.return_token_ids),
        names_ids=bool(body.return_tokens_as_token_ids),
        prompt_logprobs=body.prompt_logprobs,
    )
    wants_logprobs = plan.params.logprobs is not None
    readers = [
        PieceReader(
            model.tokenizer,
            prompt,
            logprobs=wants_logprobs,
            echo=echo,
            skips_special=plan.params.skip_special_tokens,
        )
        for prompt in plan.prompts
        for _ in range(plan.num_choices)
    ]
    job = Job(Generation(plan, model.engine, model.dispatcher), answer_format, readers, on_end)
    if not body.stream:
        return PlainAnswer(job)
    options = body.stream_options
    each_usage = bool(options and options.continuous_usage_stats)
    return StreamAnswer(job, context.settings, each_usage=each_usage)
