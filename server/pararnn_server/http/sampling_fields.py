"""Fields of a request to SamplingParams."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams
from pararnn_server.errors import BadRequest
from pararnn_server.http.schemas.generation import SEED_LIMIT, SamplingFields
from pararnn_server.models.sampling_defaults import SamplingDefaults
from pararnn_server.settings.server_settings import Settings

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")


def sampling_params(
    body: SamplingFields,
    *,
    default_max_tokens: int | None,
    defaults: SamplingDefaults,
    settings: Settings,
    vocab_size: int,
    stop_token_ids: Sequence[int],
    logprobs: int | None,
    prompt_logprobs: int | None,
) -> SamplingParams:
    """Draw a seed where there is none, or the -1 by which clients of other servers ask for that.

    default_max_tokens: None generates up to the server's limit. defaults: the checkpoint's.
    stop_token_ids: the checkpoint's further ends of a reply.

    Raises BadRequest.
    """
    try:
        params = SamplingParams(
            max_tokens=_max_tokens(body, default_max_tokens, settings.max_output_tokens),
            temperature=_or(body.temperature, defaults.temperature),
            top_p=_or(body.top_p, defaults.top_p),
            top_k=defaults.top_k if body.top_k is None else max(0, body.top_k),
            min_p=_or(body.min_p, defaults.min_p),
            repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
            seed=secrets.randbelow(SEED_LIMIT) if body.seed in (None, -1) else body.seed,
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


def _max_tokens(body: SamplingFields, default: int | None, limit: int) -> int:
    """The names mean the same; two of them must not differ. An n_predict of -1 is the server's limit."""
    given = {name: value for name in _LENGTH_FIELDS if (value := getattr(body, name)) is not None}
    if given.get("n_predict") == -1:
        given["n_predict"] = limit
    for name, value in given.items():
        if value > limit:
            raise BadRequest(f"{name}: this server generates at most {limit} tokens.", param=name)
        if value != next(iter(given.values())):
            raise BadRequest(f"{name}: another value than {next(iter(given))}; send one of them.", param=name)
    return next(iter(given.values()), limit if default is None else min(default, limit))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
