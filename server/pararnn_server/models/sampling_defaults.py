"""Sampling values of a checkpoint's generation_config.json, for requests that leave them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """The values that SamplingParams gives a meaning. top_k 0: off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


def sampling_defaults(config: Mapping[str, Any]) -> SamplingDefaults:
    """Read the members of generation_config.json that are named as the fields are; null is the default.

    Raises ValueError, which names the member, for a value that no request could send.
    """
    given = {name: config[name] for name in _TYPES if config.get(name) is not None}
    for name, value in given.items():
        # JSON's true is an int to Python.
        if isinstance(value, bool) or not isinstance(value, (int, _TYPES[name])):
            raise ValueError(f"{name} must be a number of type {_TYPES[name].__name__}")
    if "top_k" in given:
        # Some checkpoints write -1 for off.
        given["top_k"] = max(0, given["top_k"])
    defaults = SamplingDefaults(**given)
    try:
        SamplingParams(**{name: getattr(defaults, name) for name in _TYPES})
    except InvalidSamplingParams as error:
        raise ValueError(str(error)) from error
    return defaults


_TYPES: Mapping[str, type[int] | type[float]] = {
    field.name: int if field.name == "top_k" else float for field in fields(SamplingDefaults)
}
