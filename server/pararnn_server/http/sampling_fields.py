"""Fields of a request to SamplingParams."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from pararnn_core.sampling.sampling_params import NUMBERS
from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams
from pararnn_server.errors import BadRequest
from pararnn_server.http.schemas.generation import SEED_LIMIT, SamplingFields
from pararnn_server.models.sampling_defaults import SamplingDefaults
from pararnn_server.models.served_model import ServedModel
from pararnn_server.settings.server_settings import Settings

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")


class Sampling(NamedTuple):
    """Values that a route asks of the sampler, beside the fields that all routes share.

    default_max_tokens: None generates up to the server's limit.
    """

    logprobs: int | None = None
    prompt_logprobs: int | None = None
    default_max_tokens: int | None = None


def sampling_params(
    body: SamplingFields, sampling: Sampling, model: ServedModel, settings: Settings
) -> SamplingParams:
    """Return the parameters, with the model's own values for what the body leaves out. Raises BadRequest."""
    defaults = model.sampling_defaults
    try:
        params = SamplingParams(
            max_tokens=_max_tokens(body, sampling.default_max_tokens, settings.max_output_tokens),
            # Off is 0 here, and -1 to clients of other servers.
            top_k=defaults.top_k if body.top_k is None else max(0, body.top_k),
            logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
            # Clients of other servers ask for a random seed by -1.
            seed=secrets.randbelow(SEED_LIMIT) if body.seed in (None, -1) else body.seed,
            stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
            stop_token_ids=() if body.ignore_eos else tuple(model.stop_token_ids),
            ignore_eos=bool(body.ignore_eos),
            logprobs=sampling.logprobs,
            prompt_logprobs=sampling.prompt_logprobs,
            **_numbers(body, defaults),
        )
        params.check_vocabulary(model.tokenizer.vocab_size)
    except InvalidSamplingParams as error:
        raise BadRequest(f"{error}.", param=error.param) from error
    return params


def _max_tokens(body: SamplingFields, default: int | None, limit: int) -> int:
    """The names mean the same; two of them must not differ. An n_predict of -1 is the server's limit."""
    given = {name: value for name in _LENGTH_FIELDS if (value := getattr(body, name)) is not None}
    # Clients of llama.cpp ask for a reply without end by -1.
    if given.get("n_predict") == -1:
        given["n_predict"] = limit
    for name, value in given.items():
        if value > limit:
            raise BadRequest(f"{name}: this server generates at most {limit} tokens.", param=name)
        if value != next(iter(given.values())):
            raise BadRequest(f"{name}: another value than {next(iter(given))}; send one of them.", param=name)
    return next(iter(given.values()), limit if default is None else min(default, limit))


def _numbers(body: SamplingFields, defaults: SamplingDefaults) -> dict[str, float]:
    """Return the numbers that the body or the model gives; the others have the defaults of SamplingParams."""
    values = {name: getattr(body, name, None) for name in NUMBERS}
    given = {name: value for name, value in values.items() if value is not None}
    return {name: getattr(defaults, name) for name in NUMBERS if hasattr(defaults, name)} | given
