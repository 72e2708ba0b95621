"""/tokenize, /detokenize and /tokenizer_info."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pararnn_server.errors import BadRequest
from pararnn_server.http.bodies import off_loop, read_body
from pararnn_server.http.chat_fields import messages_of, tool_use
from pararnn_server.http.formats.json_parts import JsonAnswer, json_list, json_text
from pararnn_server.http.openapi import READING, WITH_BODY, documented
from pararnn_server.http.queries import StrictRoute
from pararnn_server.http.request_context import RequestContext, request_context
from pararnn_server.http.schemas.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenizerInfo,
)
from pararnn_server.models.service import service_of
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.tokenizer import Tokenizer

TEXT_CHARS = 1 << 14

router = APIRouter(route_class=StrictRoute, tags=["tokens"])


@router.post("/tokenize", **documented(TokenizeResponse, WITH_BODY, body=TokenizeRequest))
async def tokenize(request: Request) -> Response:
    """Ids of a prompt or of messages, exactly as the generating routes would feed them."""
    service_of(request).models.get()
    body = await read_body(request, TokenizeRequest)
    context = request_context(request, body.model)
    ids = await context.in_time(_encode(context, body))
    return JsonAnswer(_tokens(ids, context.model.tokenizer if body.return_token_strs else None))


@router.post("/detokenize", **documented(DetokenizeResponse, WITH_BODY, body=DetokenizeRequest))
async def detokenize(request: Request) -> Response:
    """Text of ids."""
    service_of(request).models.get()
    body = await read_body(request, DetokenizeRequest)
    model = request_context(request, body.model).model
    prompt = model.prompts.ids(body.tokens, param="tokens")
    text = await off_loop(request, model.tokenizer.decode, prompt.token_ids)
    return JsonAnswer(chain(('{"prompt":',), json_text(_chunks(text)), ("}",)))


@router.get("/tokenizer_info", **documented(TokenizerInfo, READING))
async def tokenizer_info(request: Request) -> Response:
    """Show how prompts are read."""
    model = request_context(request).model
    tokenizer, template = model.tokenizer, model.chat.template
    info = TokenizerInfo(
        tokenizer_class=str(tokenizer.config.get("tokenizer_class", "PreTrainedTokenizerFast")),
        vocab_size=tokenizer.vocab_size,
        add_bos_token=tokenizer.add_bos,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        chat_template=None if template is None else template.source,
        chat_into_session=template is not None and template.goes_into_sessions,
    )
    return JSONResponse(info.model_dump())


def _tokens(ids: Sequence[int], names: Tokenizer | None) -> Iterator[str]:
    """The answer in parts. names: of the tokens, if they were asked for."""
    # A recurrent model has no longest context, so the length is null.
    yield f'{{"count":{len(ids)},"max_model_len":null,"tokens":'
    yield from json_list(ids)
    yield ',"token_strs":'
    yield from ("null",) if names is None else json_list(map(names.token_text, ids))
    yield "}"


def _chunks(text: str) -> Iterator[str]:
    return (text[start : start + TEXT_CHARS] for start in range(0, len(text), TEXT_CHARS))


async def _encode(context: RequestContext, body: TokenizeRequest) -> Sequence[int]:
    model = context.model
    if (body.prompt is None) == (body.messages is None):
        raise BadRequest("Send either prompt or messages.", param="prompt")
    if body.messages is not None:
        if body.add_special_tokens is not None:
            message = "add_special_tokens: only with prompt; the chat template decides for messages."
            raise BadRequest(message, param="add_special_tokens")
        limit = model.prompts.limit("messages")
        use = tool_use(body.tools, None, context.settings.max_tools_bytes)
        partition = Partition(context.owner.key)
        messages = await messages_of(context.request, body.messages)
        ids = await model.chat.encode(messages, partition, tools=use.tools, limit=limit)
        return model.prompts.checked(ids, "messages")
    if body.tools:
        raise BadRequest("tools: only with messages.", param="tools")
    bos = body.add_special_tokens is not False
    prompt = await model.prompts.text(body.prompt or "", param="prompt", bos=bos)
    return prompt.token_ids
