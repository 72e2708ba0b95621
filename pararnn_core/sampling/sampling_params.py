"""Sampling parameters of a request, checked once. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LOGPROBS = 20
SEED_MIN, SEED_MAX = -(2**63), 2**63 - 1

_INTEGERS: dict[str, tuple[int, int | None]] = {
    "max_tokens": (0, None),
    "min_tokens": (0, None),
    "repeat_last_n": (-1, None),
    "top_k": (0, None),
    "seed": (SEED_MIN, SEED_MAX),
    "logprobs": (0, MAX_LOGPROBS),
    "prompt_logprobs": (0, MAX_LOGPROBS),
}
NUMBERS: dict[str, tuple[float, float | None]] = {
    "temperature": (0.0, None),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
"""Ranges of the numbers that every row is sampled with, in the order of SampleNumbers in csrc/params."""

_LOGIT_BIAS_LIMIT = 100.0
_FLAGS = ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens")
_OPTIONAL = frozenset({"logprobs", "prompt_logprobs"})


class InvalidSamplingParams(ValueError):
    """A field is out of range or of the wrong type; `param` names it."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param} {why}")
        self.param = param


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """One reply's sampling. Raises InvalidSamplingParams. Fields and their neutral values:

    max_tokens: ids to generate at most; 0 only feeds the prompt.
    min_tokens: ids before the first that may end the reply.
    temperature: 0 takes the most likely token; ties go to the lowest id everywhere.
    top_k: the k most likely tokens; 0 is off.  top_p: the fewest tokens that together hold p; 1 is off,
        0 leaves one.  min_p: tokens at least min_p times as likely as the most likely one; 0 is off.
    repetition_penalty: divides positive and multiplies other logits of tokens in the context; 1 is off.
    repeat_last_n: how many of the last tokens of the context repetition_penalty counts; -1: all.
    presence_penalty, frequency_penalty: subtracted once, and per occurrence, for tokens of this reply.
    logit_bias: token id -> number added to its logit.
    seed: signed 64 bits. The same seed gives the same reply.
    stop: strings; the caller that owns text matches them.  stop_token_ids: ids that end the reply.
    ignore_eos: the model's own EOS is none of them.
    banned_sequences: ids of which the last never follows the others in the reply.
    include_stop_str_in_output: the stop string or id that ends the reply is part of its text.
    skip_special_tokens: special tokens have no text.
    logprobs, prompt_logprobs: how many alternatives to report beside the token itself; None reports nothing.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    repeat_last_n: int = -1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    # A dict has no hash, so the hash of a frozen dataclass must leave it out.
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    seed: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    banned_sequences: tuple[tuple[int, ...], ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _INTEGERS.items():
            if not (name in _OPTIONAL and getattr(self, name) is None):
                _check_integer(name, getattr(self, name), low, high)
        for name, (lowest, highest) in NUMBERS.items():
            # A frozen dataclass refuses plain assignment.
            object.__setattr__(self, name, _checked_number(name, getattr(self, name), lowest, highest))
        for flag in _FLAGS:
            if not isinstance(getattr(self, flag), bool):
                raise InvalidSamplingParams(flag, "must be true or false")
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))
        object.__setattr__(self, "stop", _checked_stop(self.stop))
        object.__setattr__(self, "stop_token_ids", _checked_ids("stop_token_ids", self.stop_token_ids))
        object.__setattr__(self, "banned_sequences", _checked_sequences(self.banned_sequences))

    @property
    def greedy(self) -> bool:
        """True when no random number is drawn."""
        return self.temperature == 0.0

    @property
    def has_window(self) -> bool:
        """True if repetition_penalty counts a part of the context only."""
        return self.repetition_penalty != 1.0 and self.repeat_last_n >= 0

    @property
    def changes_logits(self) -> bool:
        """True when bias or a penalty makes the sampled logits differ from the model's."""
        return bool(self.logit_bias) or (
            (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)
        )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise InvalidSamplingParams where an id named in the request is not a token of the model."""
        banned = {token for sequence in self.banned_sequences for token in sequence}
        named = {
            "logit_bias": self.logit_bias,
            "stop_token_ids": self.stop_token_ids,
            "banned_sequences": banned,
        }
        for name, tokens in named.items():
            for token in tokens:
                if token >= vocab_size:
                    raise InvalidSamplingParams(
                        name, f"names token {_described(token)}, but the vocabulary ends at {vocab_size - 1}"
                    )


def _check_integer(name: str, value: object, low: int, high: int | None) -> None:
    # In Python true and false are integers, in JSON they are not.
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidSamplingParams(name, f"must be an integer, not {_described(value)}")
    if value < low or (high is not None and value > high):
        raise InvalidSamplingParams(name, f"must be {_range(low, high)}, not {_described(value)}")


def _checked_number(name: str, value: object, low: float, high: float | None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSamplingParams(name, f"must be a number, not {_described(value)}")
    if not low <= value <= (math.inf if high is None else high) or not _is_finite(value):
        raise InvalidSamplingParams(name, f"must be {_range(low, high)}, not {_described(value)}")
    return float(value)


def _checked_bias(bias: object) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise InvalidSamplingParams("logit_bias", "must map token ids to numbers")
    for token in bias:
        _check_integer("logit_bias", token, 0, None)
    return {
        token: _checked_number("logit_bias", value, -_LOGIT_BIAS_LIMIT, _LOGIT_BIAS_LIMIT)
        for token, value in bias.items()
    }


def _checked_stop(stop: object) -> tuple[str, ...]:
    if not isinstance(stop, (tuple, list)) or not all(isinstance(text, str) and text for text in stop):
        raise InvalidSamplingParams("stop", "must be a list of non-empty strings")
    return tuple(stop)


def _checked_ids(name: str, ids: object) -> tuple[int, ...]:
    if not isinstance(ids, (tuple, list)):
        raise InvalidSamplingParams(name, "must be a list of token ids")
    for token in ids:
        _check_integer(name, token, 0, None)
    return tuple(ids)


def _checked_sequences(sequences: object) -> tuple[tuple[int, ...], ...]:
    name = "banned_sequences"
    if not isinstance(sequences, (tuple, list)):
        raise InvalidSamplingParams(name, "must be a list of lists of token ids")
    checked = tuple(_checked_ids(name, sequence) for sequence in sequences)
    if not all(checked):
        raise InvalidSamplingParams(name, "must not hold an empty list")
    return checked


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the range of floats
        return False


def _range(low: float, high: float | None) -> str:
    return f"at least {low:g}" if high is None else f"between {low} and {high}"


def _described(value: object) -> str:
    # The text of a huge integer takes quadratic time, and Python refuses it beyond 4300 digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
