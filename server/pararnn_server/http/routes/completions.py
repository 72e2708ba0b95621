"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from pararnn_server.errors import BadRequest
from pararnn_server.http.answer_size import COMPLETION_ENTRY
from pararnn_server.http.bodies import read_body
from pararnn_server.http.formats.completion import CompletionFormat
from pararnn_server.http.openapi import GENERATING, documented
from pararnn_server.http.prompt_lists import read_prompts
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.routes.generate import answer, fitted_plan, generation_context, heading, plan_of
from pararnn_server.http.sampling_fields import Sampling
from pararnn_server.http.schemas.base import kind_of
from pararnn_server.http.schemas.completions import CompletionChunk, CompletionRequest, CompletionResponse
from pararnn_server.http.schemas.errors import ErrorBody
from pararnn_server.http.structured_output import reply_form, token_mask
from pararnn_server.models.service import service_of
from pararnn_server.text.prompts import EncodedPrompt

# OpenAI's default for this route.
DEFAULT_MAX_TOKENS = 16

router = APIRouter(route_class=StrictRoute, tags=["generate"])


@router.post(
    "/v1/completions",
    **documented(CompletionResponse, GENERATING, body=CompletionRequest, events=(CompletionChunk, ErrorBody)),
)
async def create_completion(request: Request) -> Response:
    """Continue text or token ids. With `session_id` the prompt holds only what is new."""
    service_of(request).check_accepting()
    body = await read_body(request, CompletionRequest)
    context = await generation_context(request, body, _sampling)
    prompts = [EncodedPrompt(())]
    if context.session.repeated is None:
        prompts = await context.in_time(read_prompts(context, body.prompt, "prompt", body.n or 1))
    mask = await context.in_time(token_mask(context, reply_form(body)))
    head, echo = heading(context, "cmpl-", body), bool(body.echo)
    plan = fitted_plan(
        context, plan_of(context, head, body, prompts, mask), body, COMPLETION_ENTRY, echo=echo
    )
    null_usage = bool(body.stream_options and body.stream_options.include_usage)
    form = CompletionFormat(head, context.model.tokenizer, body.logprobs, null_usage=null_usage)
    return answer(context, plan, form, body, echo=echo)


def _sampling(body: CompletionRequest) -> Sampling:
    if body.session_id is None and body.prompt is None:
        raise BadRequest("Field 'prompt' is missing.", param="prompt", code="missing_field")
    if body.session_id is not None and body.echo:
        raise BadRequest("echo: not with session_id.", param="echo")
    if body.session_id is not None and kind_of(body.prompt) in ("|texts", "|id_lists"):
        raise BadRequest("prompt: one prompt, not a list of prompts, with session_id.", param="prompt")
    echoed = body.logprobs if body.echo else None
    wanted = [count for count in (echoed, body.prompt_logprobs) if count is not None]
    return Sampling(body.logprobs, max(wanted, default=None), DEFAULT_MAX_TOKENS)
