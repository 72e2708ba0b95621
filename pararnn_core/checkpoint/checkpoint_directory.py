"""A checkpoint on disk, opened and compared with its own config before any weight is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pararnn_core.checkpoint.checkpoint_text import TOKENIZER, CheckpointText
from pararnn_core.checkpoint.skeleton import skeleton
from pararnn_core.checkpoint.tokenizer_file import TokenizerFile
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import (
    EMBEDDING,
    HEAD,
    matrix_sizes,
    parameter_shapes,
)
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, matrix_names
from pararnn_core.storage.untrusted_file import CheckpointError, is_present, open_regular_file, read_json
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix, shapes_of
from pararnn_core.weights.safetensors_file import PICKLE_ADVICE, TensorInfo, is_pickle
from pararnn_core.weights.weight_files import WeightFiles

CONFIG = "config.json"
CARD = "README.md"
STORED_DTYPES = {"float32": "F32", "bfloat16": "BF16", "int8": "I8", "uint8": "U8"}

_MAX_JSON_BYTES = 1 << 20
_LARGEST_SIZE = 2**31
_LARGEST_MODEL = 2**60
_LISTED = 3
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


class StoredTensor(NamedTuple):
    """The shape and dtype that a checkpoint must hold under a name; dtype as torch spells it."""

    shape: tuple[int, ...]
    dtype: str


def config_fields(path: Path) -> dict[str, Any]:
    """Return the object of a checkpoint's config.json."""
    return read_json(path / CONFIG, _MAX_JSON_BYTES, within=path)


class CheckpointDirectory:
    """A checkpoint opened for reading; a context manager.

    Raises CheckpointError unless names, shapes, dtypes and sizes are right.
    config_fields: config.json as read, which the fingerprint covers; config: the same, checked
    repeats_head: the files hold a head although it is tied; the reader must compare it with the embedding
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_is_directory(path)
        self.config_fields = config_fields(path)
        self.config = _read_config(path / CONFIG, self.config_fields)
        self._shapes: Mapping[str, tuple[int, ...]] = {}
        self.fingerprint = _read_fingerprint(path / CONFIG, self.config_fields)
        self.tokenizer = _read_tokenizer(path, self.config.vocab_size)
        # From here on files are open, which an error must close.
        self.weights = WeightFiles(path)
        try:
            tensors = self.weights.tensors
            self.repeats_head = _repeats_head(tensors, self.config)
            if self.repeats_head:
                # The property returned a new dict, so the reader still finds the head.
                del tensors[HEAD]
            shapes = {name: info.shape for name, info in tensors.items()}
            _check_dtypes(path, tensors, check_shapes(path, shapes, self.config))
            self._shapes = _parameter_shapes(self.config)
        except BaseException:
            self.weights.close()
            raise

    def __enter__(self) -> CheckpointDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.weights.close()

    def matrix(self, name: str, qweight: torch.Tensor, scales: torch.Tensor) -> QuantizedMatrix:
        """Return the matrix of that name, made of its two tensors. Their shapes were checked before."""
        if self.config.quantization is None:
            raise ValueError(f"{name}: this checkpoint is not quantised")
        matrix_format = self.config.quantization.format_of(name)
        bits, group_size = matrix_format.bits, matrix_format.group_size
        return QuantizedMatrix(qweight, scales, bits, group_size, self.inputs_of(name))

    def inputs_of(self, name: str) -> int:
        """Return the number of inputs of the matrix of that name."""
        return matrix_sizes(self._shapes[name]).inputs

    @property
    def has_chat_template(self) -> bool:
        """True if there is a chat template, in a file of its own or in tokenizer_config.json."""
        return bool(CheckpointText(self.path).chat_templates())


def _repeats_head(tensors: Mapping[str, TensorInfo], config: ModelConfig) -> bool:
    """Return True if the files hold a tied head a second time, as other programs write it."""
    head, embedding = tensors.get(HEAD), tensors.get(EMBEDDING)
    if head is None or embedding is None or not config.tie_embeddings:
        return False
    return (head.shape, head.dtype) == (embedding.shape, embedding.dtype)


def empty_model(config: ModelConfig) -> ParaRNNForCausalLM:
    """Return a model whose parameters are all on the meta device, matrices as if they were not quantised."""
    with skeleton():
        model = ParaRNNForCausalLM(replace(config, quantization=None))
    model.config = config
    return model


def expected_tensors(config: ModelConfig) -> dict[str, StoredTensor]:
    """Return all tensors that a checkpoint of this config holds, by name."""
    shapes = _parameter_shapes(config)
    expected: dict[str, StoredTensor] = {}
    if config.quantization is not None:
        for name in matrix_names(config.num_hidden_layers, config.tie_embeddings, config.matrices_of_a_layer):
            expected |= _quantized_tensors(name, shapes.pop(name), config.quantization.format_of(name))
    return expected | {name: StoredTensor(shape, config.dtype) for name, shape in shapes.items()}


def _parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return parameter_shapes(config.sizes, config.num_hidden_layers, config.tie_embeddings)


def check_shapes(
    path: Path, shapes: Mapping[str, tuple[int, ...]], config: ModelConfig
) -> dict[str, StoredTensor]:
    """Compare shapes with those of the config, and return the expected tensors.

    Raises CheckpointError that lists the first missing, unexpected and mismatching tensors.
    """
    # The comparison makes all expected names. A config with absurdly many layers must not get that far.
    least_tensors = config.num_hidden_layers * len(config.matrices_of_a_layer)
    if least_tensors > len(shapes) or config.num_parameters > _LARGEST_MODEL:
        raise CheckpointError(
            path,
            f"the config describes a far larger model than these {len(shapes)} tensors: copy or download "
            "config and weights of one model again",
        )
    expected = expected_tensors(config)
    problems = [
        *_listed("missing", expected.keys() - shapes.keys()),
        *_listed("unexpected", shapes.keys() - expected.keys()),
        *_first(
            f"{name} is {list(shapes[name])} and should be {list(each.shape)}"
            for name, each in expected.items()
            if name in shapes and shapes[name] != each.shape
        ),
    ]
    if problems:
        raise CheckpointError(path, f"weights and config belong to different models: {'; '.join(problems)}")
    return expected


def _check_dtypes(
    path: Path, tensors: Mapping[str, TensorInfo], expected: Mapping[str, StoredTensor]
) -> None:
    by_dtype: dict[str, list[str]] = {}
    for name, each in expected.items():
        if tensors[name].dtype != STORED_DTYPES[each.dtype]:
            by_dtype.setdefault(each.dtype, []).append(f"{name} is {tensors[name].dtype}")
    for dtype, wrong in by_dtype.items():
        raise CheckpointError(path, f"{CONFIG} says dtype {dtype}, but {'; '.join(_first(wrong))}")


def _quantized_tensors(
    name: str, shape: tuple[int, ...], matrix_format: MatrixFormat
) -> dict[str, StoredTensor]:
    sizes = matrix_sizes(shape)
    qweight, scales = shapes_of(sizes.rows, sizes.inputs, matrix_format.bits, matrix_format.group_size)
    return {
        name + QWEIGHT: StoredTensor(qweight, "int8" if matrix_format.bits == 8 else "uint8"),
        name + SCALES: StoredTensor(scales, "bfloat16"),
    }


def _check_is_directory(path: Path) -> None:
    if path.is_dir():
        return
    if not path.exists():
        raise CheckpointError(path, "does not exist")
    if path.is_file():
        with open_regular_file(path, within=None) as file:
            if is_pickle(file.read(8)):
                raise CheckpointError(path, PICKLE_ADVICE)
    raise CheckpointError(path, f"is a file: give the directory that holds {CONFIG} and the weights")


def _read_config(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
    for name, value in fields.items():
        # JSON allows integers of any length, and sizes are multiplied with one another.
        if isinstance(value, int) and abs(value) > _LARGEST_SIZE:
            raise CheckpointError(path, f"{name} must be at most {_LARGEST_SIZE}")
    try:
        # The fingerprint is in the same file, but it is no field of a model's config.
        return ModelConfig.from_dict({key: value for key, value in fields.items() if key != "fingerprint"})
    except (ValueError, TypeError) as error:
        raise CheckpointError(path, str(error)) from None


def _read_fingerprint(path: Path, fields: Mapping[str, Any]) -> str | None:
    value = fields.get("fingerprint")
    if value is not None and (not isinstance(value, str) or not _HEX_DIGEST.fullmatch(value)):
        raise CheckpointError(path, "fingerprint must be 64 hexadecimal digits")
    return value


def _read_tokenizer(folder: Path, vocab_size: int) -> bytes | None:
    path = folder / TOKENIZER
    if not is_present(path):
        return None
    tokenizer = TokenizerFile.read(path, within=folder)
    tokenizer.check_fits(path, vocab_size)
    return tokenizer.data


def _listed(what: str, names: Collection[str]) -> list[str]:
    return [f"{what} {', '.join(_first(sorted(names)))}"] if names else []


def _first(items: Iterable[str]) -> list[str]:
    items = list(items)
    more = [f"{len(items) - _LISTED} more"] if len(items) > _LISTED else []
    return items[:_LISTED] + more
