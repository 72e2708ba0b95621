"""Formats of quantised matrices: `quantization_config` of config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pararnn_core.models.pararnn.layer_tensors import EMBEDDING, HEAD, matrix_stages
from pararnn_core.models.pararnn.layer_tensors import MATRICES_OF_A_LAYER as MATRICES_OF_A_LAYER
from pararnn_core.weights.quantized_matrix import check_format

METHODS = ("round", "gptq")
DEFAULT_GROUP_SIZES = {8: 128, 4: 32}

_KEYS = {"method", "bits", "group_size", "overrides"}
_LAYER_NAME = re.compile(r"layers\.(0|[1-9]\d{0,8})\.(.+)")


@dataclass(frozen=True, slots=True, order=True)
class MatrixFormat:
    """The format of a quantised matrix. Raises ValueError that names a wrong field."""

    bits: int
    group_size: int

    def __post_init__(self) -> None:
        check_format(self.bits, self.group_size)


@dataclass(frozen=True)
class QuantizationConfig:
    """The formats of a model's matrices.

    method: "round" or "gptq", by which the integers were chosen
    overrides: other formats by parameter name, sorted by name
    """

    method: str
    bits: int
    group_size: int
    overrides: tuple[tuple[str, MatrixFormat], ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {list(METHODS)}, got {self.method!r:.40}")
        check_format(self.bits, self.group_size)

    @classmethod
    def usual(cls, method: str, default: MatrixFormat, tied: bool) -> QuantizationConfig:
        """Return a config with this default. With 4 bits, the vocabulary's matrices get 8 bits."""
        names = (EMBEDDING,) if tied else (EMBEDDING, HEAD)
        wide = MatrixFormat(8, DEFAULT_GROUP_SIZES[8])
        # The vocabulary in 4 bits would cost as much perplexity again as all other matrices.
        overrides = () if default.bits == 8 else tuple((name, wide) for name in names)
        return cls(method, default.bits, default.group_size, overrides)

    @property
    def default(self) -> MatrixFormat:
        """Format of matrices without an override."""
        return MatrixFormat(self.bits, self.group_size)

    def format_of(self, name: str) -> MatrixFormat:
        """Return the format of the matrix of that name."""
        return self._formats.get(name, self.default)

    def check_names(
        self, num_layers: int, tied: bool, of_a_layer: Sequence[str] = MATRICES_OF_A_LAYER
    ) -> None:
        """Raise ValueError if an override names no matrix, or if matrices that are packed as one differ."""
        for name, its_format in self.overrides:
            if not is_matrix(name, num_layers, tied, of_a_layer):
                raise ValueError(f"overrides: {name!r:.80} is no matrix of this model")
            # Native code reads these matrices as the gates of one, with one format.
            for twin in _packed_with(name):
                if its_format != self.format_of(twin):
                    raise ValueError(f"overrides: {name} and {twin} must have the same bits and group_size")

    @cached_property
    def _formats(self) -> dict[str, MatrixFormat]:
        return dict(self.overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the object in config.json, which `from_dict` reads."""
        fields: dict[str, Any] = {"method": self.method, "bits": self.bits, "group_size": self.group_size}
        if self.overrides:
            fields["overrides"] = {name: _format_dict(each) for name, each in self.overrides}
        return fields

    @classmethod
    def from_dict(cls, data: object) -> QuantizationConfig:
        """Make the config from the object in config.json. Raises ValueError that names a wrong key."""
        fields = _object("quantization_config", data, _KEYS - {"overrides"}, _KEYS)
        overrides = fields.get("overrides", {})
        if not isinstance(overrides, Mapping):
            raise ValueError("quantization_config: overrides must be an object")
        try:
            formats = {name: _read_format(name, value) for name, value in overrides.items()}
            # Sorted, configs are equal in whatever order their files list the overrides.
            return cls(fields["method"], fields["bits"], fields["group_size"], tuple(sorted(formats.items())))
        except ValueError as error:
            raise ValueError(f"quantization_config: {error}") from None


def format_for(bits: int, group_size: int | None = None) -> MatrixFormat:
    """Return a format. group_size: None is the default for these bits. Raises ValueError for a wrong one."""
    return MatrixFormat(bits, DEFAULT_GROUP_SIZES.get(bits, 0) if group_size is None else group_size)


def matrix_names(
    num_layers: int, tied: bool, of_a_layer: Sequence[str] = MATRICES_OF_A_LAYER
) -> Iterator[str]:
    """Yield the names of all matrices that are quantised, in the order of a forward pass.

    of_a_layer: ModelConfig.matrices_of_a_layer
    """
    yield EMBEDDING
    for i in range(num_layers):
        for name in of_a_layer:
            yield f"layers.{i}.{name}"
    if not tied:
        yield HEAD


def is_matrix(
    name: str, num_layers: int, tied: bool, of_a_layer: Sequence[str] = MATRICES_OF_A_LAYER
) -> bool:
    """Return True if `matrix_names` yields this name."""
    match = _LAYER_NAME.fullmatch(name)
    if match is None:
        return name == EMBEDDING or (name == HEAD and not tied)
    return int(match[1]) < num_layers and match[2] in of_a_layer


def _packed_with(name: str) -> Iterator[str]:
    """Yield the names of the other matrices that are packed as one with this one."""
    for stage in matrix_stages():
        ours = next((leaf for leaf in stage if name.endswith(f".{leaf}")), None)
        if ours is not None:
            yield from (name.removesuffix(ours) + leaf for leaf in stage if leaf != ours)


def _format_dict(each: MatrixFormat) -> dict[str, int]:
    return {"bits": each.bits, "group_size": each.group_size}


def _read_format(name: str, value: object) -> MatrixFormat:
    keys = {"bits", "group_size"}
    fields = _object(f"overrides of {name:.80}", value, keys, keys)
    return MatrixFormat(fields["bits"], fields["group_size"])


def _object(what: str, value: object, required: set[str], known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be an object")
    wrong = [f"needs {key}" for key in sorted(required - value.keys())]
    wrong += [f"has the unknown key {key!r:.40}" for key in sorted(value.keys() - known)]
    if wrong:
        raise ValueError(f"{what} {wrong[0]}")
    return value
