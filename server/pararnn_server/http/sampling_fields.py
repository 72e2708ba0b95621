"""Fields of a request to SamplingParams."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from pararnn_core.sampling.sampling_params import NUMBERS
from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams
from pararnn_server.errors import BadRequest
from pararnn_server.http.schemas.generation import SEED_LIMIT, SamplingFields
from pararnn_server.models.sampling_defaults import SamplingDefaults
from pararnn_server.models.served_model import ServedModel
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.tokenizer import Tokenizer

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")


class Sampling(NamedTuple):
    """Values that a route asks of the sampler, beside the fields that all routes share.

    default_max_tokens: None generates up to the server's limit.
    """

    logprobs: int | None = None
    prompt_logprobs: int | None = None
    default_max_tokens: int | None = None


async def sampling_params(
    body: SamplingFields, sampling: Sampling, model: ServedModel, settings: Settings
) -> SamplingParams:
    """Return the parameters, with the model's own values for what the body leaves out. Raises BadRequest."""
    defaults = model.sampling_defaults
    max_tokens = _max_tokens(body, sampling.default_max_tokens, settings.max_output_tokens)
    try:
        params = SamplingParams(
            max_tokens=max_tokens,
            min_tokens=_min_tokens(body, max_tokens),
            # Off is 0 here, and -1 to clients of other servers.
            top_k=defaults.top_k if body.top_k is None else max(0, body.top_k),
            logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
            # Clients of other servers ask for a random seed by -1.
            seed=secrets.randbelow(SEED_LIMIT) if body.seed in (None, -1) else body.seed,
            stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
            repeat_last_n=-1 if body.repeat_last_n is None else body.repeat_last_n,
            stop_token_ids=_stop_token_ids(body, model),
            banned_sequences=await _banned_sequences(body.bad_words or (), model.tokenizer),
            ignore_eos=bool(body.ignore_eos),
            include_stop_str_in_output=bool(body.include_stop_str_in_output),
            skip_special_tokens=body.skip_special_tokens is not False,
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


def _min_tokens(body: SamplingFields, max_tokens: int) -> int:
    if (body.min_tokens or 0) > max_tokens:
        message = f"min_tokens: more than the {max_tokens} of max_tokens; send a larger max_tokens."
        raise BadRequest(message, param="min_tokens")
    return body.min_tokens or 0


async def _banned_sequences(words: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Return the ids of each word, at the beginning of a text and after a space."""
    banned: list[tuple[int, ...]] = []
    for word in words:
        bare = word.lstrip() or word
        alone, spaced = [tuple(await tokenizer.encode(text)) for text in (bare, f" {bare}")]
        banned.append(alone)
        # As vLLM has it: a space that is a token of its own would ban nothing new.
        if spaced[0] != alone[0] and len(spaced) == len(alone):
            banned.append(spaced)
    return tuple(banned)


def _stop_token_ids(body: SamplingFields, model: ServedModel) -> tuple[int, ...]:
    """The model's own further EOS ids are ignored with its EOS; those of the request never are."""
    own = () if body.ignore_eos else model.stop_token_ids
    return (*own, *(body.stop_token_ids or ()))


def _numbers(body: SamplingFields, defaults: SamplingDefaults) -> dict[str, float]:
    """Return the numbers that the body or the model gives; the others have the defaults of SamplingParams."""
    values = {name: getattr(body, name, None) for name in NUMBERS}
    given = {name: value for name, value in values.items() if value is not None}
    if body.repeat_penalty is not None:
        given["repetition_penalty"] = _repetition_penalty(body.repetition_penalty, body.repeat_penalty)
    return {name: getattr(defaults, name) for name in NUMBERS if hasattr(defaults, name)} | given


def _repetition_penalty(ours: float | None, llama_cpp: float) -> float:
    """The two names mean the same."""
    if ours not in (None, llama_cpp):
        message = "repeat_penalty: another value than repetition_penalty; send one of them."
        raise BadRequest(message, param="repeat_penalty")
    return llama_cpp
