"""POST /v1/embeddings."""

from __future__ import annotations

import secrets
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from pararnn_core.sampling_params import SamplingParams
from pararnn_server.engine.generation import Generation, GenerationPlan
from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import read_body
from pararnn_server.http.embeddings_answer import EmbeddingsAnswer
from pararnn_server.http.openapi import WITH_BODY, documented
from pararnn_server.http.prompt_lists import read_prompts
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext, request_context
from pararnn_server.http.request_state import request_state
from pararnn_server.http.schemas.embeddings import EmbeddingsRequest, EmbeddingsResponse
from pararnn_server.models.service import service_of
from pararnn_server.state_cache.breakpoints import CacheUse

# Of a number in JSON, about.
NUMBER_BYTES = 14
# States of inputs that are embedded would displace those of conversations, and are seldom asked for again.
UNCACHED = CacheUse(is_explicit=True)

router = APIRouter(route_class=StrictRoute, tags=["embeddings"])


@router.post("/v1/embeddings", **documented(EmbeddingsResponse, (*WITH_BODY, 504), body=EmbeddingsRequest))
async def create_embeddings(request: Request) -> Response:
    """Give each input a vector: the mean of its final rows."""
    service_of(request).check_accepting()
    body = await read_body(request, EmbeddingsRequest)
    context = request_context(request, body.model, body.timeout)
    if body.user is not None:
        request_state(request.scope).recorded = {"user": body.user}
    _check_dimensions(body, context.model.engine.hidden_size)
    prompts = await context.in_time(read_prompts(context, body.input, "input"))
    _check_size(context, len(prompts))
    plan = GenerationPlan(
        request_id=f"embd-{secrets.token_hex(12)}",
        prompts=[replace(prompt, cache_use=UNCACHED) for prompt in prompts],
        params=SamplingParams(max_tokens=0),
        num_choices=1,
        owner=context.owner,
        deadline=context.deadline,
        embeds=True,
    )
    generation = Generation(plan, context.model.engine, context.model.dispatcher)
    return EmbeddingsAnswer(generation, context.model.name, base64=body.encoding_format == "base64")


def _check_dimensions(body: EmbeddingsRequest, width: int) -> None:
    """Raise BadRequest for another size than the model's: a shortened vector would rank differently."""
    if body.dimensions not in (None, width):
        message = f"dimensions: this model's embeddings have {width}; leave it out."
        raise BadRequest(message, param="dimensions")


def _check_size(context: RequestContext, num_inputs: int) -> None:
    size, limit = (
        num_inputs * context.model.engine.hidden_size * NUMBER_BYTES,
        context.settings.max_answer_bytes,
    )
    if size > limit:
        message = f"the answer would have about {size} bytes, more than {limit} (max_answer_bytes)"
        raise BadRequest(f"input: {message}: send fewer inputs.", param="input")
