"""What completions and chats ask of a request before it becomes a generation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.access.owner import Owner
from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.engine.recorded_reply import RecordedReply, recorded
from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import BadRequest
from pararnn_server.http.answer import Answer, Job, PlainAnswer
from pararnn_server.http.answer_size import EntryBytes, fitted
from pararnn_server.http.formats.base import AnswerFormat, Heading
from pararnn_server.http.formats.pieces import PieceReader
from pararnn_server.http.idempotency import idempotency_key_of
from pararnn_server.http.request_state import owner_of, request_state
from pararnn_server.http.sampling_fields import sampling_params
from pararnn_server.http.schemas.generation import HonouredFields, RecordedFields, SamplingFields
from pararnn_server.http.schemas.sessions import SessionAppend
from pararnn_server.http.stream import StreamAnswer
from pararnn_server.models.service import Service, Serving
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.prompts import EncodedPrompt

_RECORDED = set(RecordedFields.model_fields)


@dataclass(frozen=True, slots=True)
class SessionView:
    """The session a request names, as it stood when its prompt was read.

    expected_turn: the client's; or, for an empty session, the turn at which it was seen to be empty, so that
        what opens a context (a BOS, a system message) never lands inside one.
    repeated: what the request was answered before; its prompt is not read again.
    """

    is_empty: bool = True
    expected_turn: int | None = None
    idempotency_key: IdempotencyKey | None = None
    repeated: RecordedReply | None = None


NO_SESSION = SessionView()


def check_generating(body: HonouredFields, service: Service) -> float:
    """Rules between fields; returns the request's deadline. Raises BadRequest, or NotFound for the model."""
    service.reading().check_model(body.model)
    if body.stream_options is not None and not body.stream:
        raise BadRequest("stream_options: only with stream true.", param="stream_options")
    if (body.n or 1) > service.settings.max_choices:
        raise BadRequest(f"n: at most {service.settings.max_choices} choices.", param="n")
    if body.session_id is None and body.expected_turn is not None:
        raise BadRequest("expected_turn: only with session_id.", param="expected_turn")
    if body.session_id is not None and (body.n or 1) > 1:
        raise BadRequest("n: a session has one continuation; leave n out.", param="n")
    return deadline(body.timeout, service.settings)


def deadline(timeout: float | None, settings: Settings) -> float:
    """On the monotonic clock. Raises BadRequest for more than the server's own limit."""
    limit = settings.request_timeout_seconds
    if timeout is not None and timeout > limit:
        raise BadRequest(f"timeout: at most {limit:g} seconds.", param="timeout")
    return time.monotonic() + (limit if timeout is None else timeout)


async def view_session(
    body: HonouredFields | SessionAppend, session_id: str | None, serving: Serving, request: Request
) -> SessionView:
    """Raises NotFound or Expired."""
    if session_id is None:
        return NO_SESSION
    idempotency_key = await idempotency_key_of(request, body)
    info, repeated = await serving.ask(directory.view, session_id, owner_of(request), idempotency_key)
    is_empty = info.num_tokens == 0
    expected = info.turn if is_empty and body.expected_turn is None else body.expected_turn
    return SessionView(is_empty, expected, idempotency_key, None if repeated is None else recorded(repeated))


def params_of(
    body: SamplingFields,
    service: Service,
    *,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    default_max_tokens: int | None = None,
) -> SamplingParams:
    """Raises BadRequest. default_max_tokens: None generates up to the server's limit."""
    serving = service.reading()
    return sampling_params(
        body,
        default_max_tokens=default_max_tokens,
        defaults=serving.sampling_defaults,
        settings=service.settings,
        vocab_size=serving.tokenizer.vocab_size,
        stop_token_ids=serving.stop_token_ids,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def heading(
    prefix: str, body: RecordedFields, serving: Serving, request: Request, view: SessionView = NO_SESSION
) -> Heading:
    """A new id and the time, or those of the answer that is repeated.

    What is only recorded goes to the request's log line too.
    """
    fields = record(body, request)
    id_, created = f"{prefix}-{secrets.token_hex(12)}", int(time.time())
    if view.repeated is not None:
        id_, created = view.repeated.request_id, view.repeated.created
    return Heading(id_, created, serving.name, serving.system_fingerprint, fields)


def record(body: RecordedFields, request: Request) -> dict[str, Any]:
    """Fields without any effect, for the log line of the request and for the answer."""
    fields = body.model_dump(include=_RECORDED, exclude_none=True)
    request_state(request.scope).recorded = fields
    return fields


def plan_of(
    head: Heading,
    body: HonouredFields,
    prompts: list[EncodedPrompt],
    params: SamplingParams,
    view: SessionView,
    ends: float,
    owner: Owner,
) -> GenerationPlan:
    """ends: the deadline, which covers reading the prompt too."""
    return GenerationPlan(
        request_id=head.id,
        prompts=prompts,
        params=params,
        num_choices=body.n or 1,
        owner=owner,
        deadline=ends,
        session_id=body.session_id,
        expected_turn=view.expected_turn,
        cache_salt=body.cache_salt,
        created=head.created,
        idempotency_key=view.idempotency_key,
        repeated=view.repeated,
    )


def answer(
    body: HonouredFields,
    plan: GenerationPlan,
    answer_format: AnswerFormat,
    service: Service,
    *,
    entry_bytes: EntryBytes,
    echo: bool = False,
    on_end: Callable[[TokenUsage], Awaitable[None]] | None = None,
) -> Answer:
    """Streamed or whole, as the body asks. on_end: as of Job."""
    serving = service.reading()
    if plan.repeated is None:
        plan = fitted(
            plan,
            entry_bytes,
            service.settings.max_answer_bytes,
            echo=echo,
            is_stream=bool(body.stream),
            is_chosen=_max_tokens_is_chosen(body),
        )
    wants_logprobs = plan.params.logprobs is not None
    readers = [
        PieceReader(serving.tokenizer, prompt, logprobs=wants_logprobs, echo=echo)
        for prompt in plan.prompts
        for _ in range(plan.num_choices)
    ]
    job = Job(Generation(plan, serving.engine, serving.dispatcher), answer_format, readers, on_end)
    if not body.stream:
        return PlainAnswer(job)
    options = body.stream_options
    return StreamAnswer(
        job,
        service.settings,
        each_usage=bool(options and options.continuous_usage_stats),
    )


def _max_tokens_is_chosen(body: SamplingFields) -> bool:
    given = (body.max_tokens, body.max_completion_tokens, body.max_output_tokens)
    return given != (None, None, None)
