"""Fields of a request to SamplingParams."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams
from pararnn_server.errors import BadRequest
from pararnn_server.schemas.generation import SEED_LIMIT, SamplingFields
from pararnn_server.settings import Settings

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def sampling_params(
    body: SamplingFields,
    *,
    default_max_tokens: int,
    settings: Settings,
    vocab_size: int,
    stop_token_ids: Sequence[int],
    logprobs: int | None,
    prompt_logprobs: int | None,
) -> SamplingParams:
    """A request without a seed gets one drawn. stop_token_ids: the checkpoint's further ends of a reply.

    Raises BadRequest.
    """
    try:
        params = SamplingParams(
            max_tokens=_max_tokens(body, default_max_tokens, settings.max_output_tokens),
            temperature=_or(body.temperature, 1.0),
            top_p=_or(body.top_p, 1.0),
            top_k=max(0, body.top_k or 0),
            min_p=body.min_p or 0.0,
            repetition_penalty=_or(body.repetition_penalty, 1.0),
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
            seed=secrets.randbelow(SEED_LIMIT) if body.seed is None else body.seed,
            stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
            stop_token_ids=() if body.ignore_eos else tuple(stop_token_ids),
            ignore_eos=bool(body.ignore_eos),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
        )
        params.check_vocabulary(vocab_size)
    except InvalidSamplingParams as error:
        raise BadRequest(f"{error}.", param=error.param) from error
    return params


def _max_tokens(body: SamplingFields, default: int, limit: int) -> int:
    """The three names mean the same; two of them must not differ."""
    given = {name: value for name in _LENGTH_FIELDS if (value := getattr(body, name)) is not None}
    for name, value in given.items():
        if value > limit:
            raise BadRequest(f"{name}: this server generates at most {limit} tokens.", param=name)
        if value != next(iter(given.values())):
            raise BadRequest(f"{name}: another value than {next(iter(given))}; send one of them.", param=name)
    return next(iter(given.values()), min(default, limit))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
