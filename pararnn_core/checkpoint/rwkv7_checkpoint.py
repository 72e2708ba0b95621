"""Loading of an RWKV-7 in Hugging Face's layout, with its matrices as floats or as our integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from pararnn_core.checkpoint.checkpoint_text import TOKENIZER, CheckpointText
from pararnn_core.checkpoint.fingerprint import Fingerprint
from pararnn_core.models.pararnn.quantization_config import QuantizationConfig
from pararnn_core.models.rwkv7.config import Rwkv7Config
from pararnn_core.models.rwkv7.layer_tensors import Shape, parameter_shapes
from pararnn_core.models.rwkv7.packed import Rwkv7Model, Weight
from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix, shapes_of
from pararnn_core.weights.safetensors_file import TensorInfo
from pararnn_core.weights.weight_files import WeightFiles, is_finite

Progress = Callable[[int, int], None]

QUANTIZATION = "quantization_config"
_FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float32}
"""The types of tensors in files, and those in memory: float32 has every value of float16."""
_LISTED = 3


def load_rwkv7(
    path: Path, fields: Mapping[str, Any], dtype: str | None = None, progress: Progress | None = None
) -> Rwkv7Model:
    """Load an RWKV-7 to serve on a CPU. Raises CheckpointError if the checkpoint is damaged.

    fields: config.json; dtype: "float32" or "bfloat16" converts the matrices, None keeps their type
    progress: progress(bytes read, bytes in all), called in the calling thread
    """
    with WeightFiles(path) as files:
        return _Loader(path, fields, files, dtype).load(progress)


def rwkv7_config(path: Path, fields: Mapping[str, Any], dtype: str | None = None) -> Rwkv7Config:
    """Return the config of a checkpoint without reading a weight. Checks names, shapes, types and sizes."""
    with WeightFiles(path) as files:
        return _Loader(path, fields, files, dtype).config


class _Loader:
    """One load. It has compared names, shapes and types with one another before it reads a weight."""

    def __init__(self, path: Path, fields: Mapping[str, Any], files: WeightFiles, dtype: str | None) -> None:
        self._path, self._fields, self._files = path, fields, files
        self._infos = files.tensors
        try:
            self._formats = self._quantization()
            self.config = self._config(dtype)
        except (ValueError, TypeError) as error:
            raise CheckpointError(path, str(error)) from None
        self._shapes = parameter_shapes(self.config.sizes, self.config.num_hidden_layers)
        self._check_names()

    def load(self, progress: Progress | None) -> Rwkv7Model:
        # Packing places need all shapes first. Then memory holds only one matrix at a time beside the packed.
        matrices = {name: self._on_meta(name) for name, shape in self._shapes.items() if len(shape) == 2}
        model = Rwkv7Model(self.config, matrices)
        text = CheckpointText(self._path)
        fingerprint = Fingerprint(self._fields, text.tokenizer() if text.has(TOKENIZER) else None)
        for name, weight in self._read(fingerprint, progress):
            model.set_weight(name, weight)
        digest = fingerprint.hexdigest()
        stored = self._fields.get("fingerprint")
        if stored not in (None, digest):
            raise CheckpointError(
                self._path,
                f"the files are not those that were saved: their fingerprint is {digest}, but config.json has"
                f" {stored}. Copy or download the checkpoint again",
            )
        if self._converts:
            # Other weight types give other states, so that sessions must not be shared with the original.
            digest = sha256(f"{digest} as {self.config.dtype}".encode()).hexdigest()
        return model.finish(digest)

    def _quantization(self) -> QuantizationConfig | None:
        entry = self._fields.get(QUANTIZATION)
        return None if entry is None else QuantizationConfig.from_dict(entry)

    def _config(self, dtype: str | None) -> Rwkv7Config:
        if self._formats is not None and dtype is not None:
            raise ValueError(f"is quantised and cannot be held as {dtype}: load it as it is")
        shapes = {name: self._plain_shape(name, info) for name, info in self._infos.items()}
        for name, info in self._infos.items():
            if not name.endswith((QWEIGHT, SCALES)) and info.dtype not in _FLOATS:
                raise ValueError(f"{name} is {info.dtype}: expected float32, bfloat16 or float16")
        found = Rwkv7Config.of_checkpoint(self._fields, _without_suffixes(shapes), self._stored_dtype())
        self._converts = dtype is not None and dtype != found.dtype
        bits = None if self._formats is None else self._formats.bits
        return replace(found, dtype=dtype or found.dtype, bits=bits)

    def _stored_dtype(self) -> str:
        # r_k has two dimensions in files too.
        matrices = {
            info.dtype
            for name, info in self._infos.items()
            if len(info.shape) == 2 and name.endswith(".weight")
        }
        return "bfloat16" if "BF16" in matrices and "F32" not in matrices else "float32"

    def _plain_shape(self, name: str, info: TensorInfo) -> Shape:
        if name.endswith(QWEIGHT) and info.dtype == "U8":
            return info.shape[0], 2 * info.shape[1]
        return info.shape

    def _check_names(self) -> None:
        expected: dict[str, Shape] = {}
        for name, shape in self._shapes.items():
            if name + QWEIGHT in self._infos and self._formats is not None:
                matrix_format = self._formats.format_of(name)
                outputs, inputs = shape
                qweight, scales = shapes_of(outputs, inputs, matrix_format.bits, matrix_format.group_size)
                expected |= {name + QWEIGHT: qweight, name + SCALES: scales}
            else:
                expected[name] = shape
        problems = _listed("missing", expected.keys() - self._infos.keys())
        problems += _listed("unexpected", self._infos.keys() - expected.keys())
        for name, shape in expected.items():
            info = self._infos.get(name)
            # A vector may have further dimensions: (1, 1, d), or heads and their channels.
            if info is not None and (
                info.shape != shape if len(shape) == 2 else math.prod(info.shape) != shape[0]
            ):
                problems.append(f"{name} is {list(info.shape)} and should be {list(shape)}")
        if problems:
            raise CheckpointError(
                self._path, f"is no RWKV-7 that this version reads: {'; '.join(problems[:_LISTED])}"
            )

    def _on_meta(self, name: str) -> Weight:
        info = self._infos.get(name)
        if info is not None:
            return torch.empty(info.shape, dtype=self._dtype_of(info), device="meta")
        qweight, scales = (self._infos[name + suffix] for suffix in (QWEIGHT, SCALES))
        integers = torch.int8 if qweight.dtype == "I8" else torch.uint8
        return self._matrix(
            name,
            torch.empty(qweight.shape, dtype=integers, device="meta"),
            torch.empty(scales.shape, dtype=torch.bfloat16, device="meta"),
        )

    def _matrix(self, name: str, qweight: torch.Tensor, scales: torch.Tensor) -> QuantizedMatrix:
        if self._formats is None:
            raise CheckpointError(self._path, f"{name} has integers, but config.json no {QUANTIZATION}")
        matrix_format = self._formats.format_of(name)
        try:
            return QuantizedMatrix(
                qweight, scales, matrix_format.bits, matrix_format.group_size, self._shapes[name][1]
            )
        except ValueError as error:
            raise CheckpointError(self._path, f"{name}: {error}") from None

    def _dtype_of(self, info: TensorInfo) -> torch.dtype:
        if self._converts:
            dtype: torch.dtype = getattr(torch, self.config.dtype)
            return dtype
        return _FLOATS[info.dtype]

    def _read(self, fingerprint: Fingerprint, progress: Progress | None) -> Iterator[tuple[str, Weight]]:
        done, total = 0, self._files.nbytes
        qweight = torch.empty(0)

        def on_chunk(chunk: memoryview) -> None:
            nonlocal done
            done += len(chunk)
            fingerprint.add(chunk)
            if progress is not None:
                progress(done, total)

        for name, info in self._infos.items():
            fingerprint.begin_tensor(name, info.dtype, info.shape)
            tensor = self._files.read(name, on_chunk)
            if tensor.is_floating_point() and not is_finite(tensor):
                raise CheckpointError(self._path, f"{name} holds NaN or infinity and cannot be used")
            # In the order of names the scales of a matrix follow its integers.
            if name.endswith(QWEIGHT):
                qweight = tensor
            elif name.endswith(SCALES):
                matrix = self._matrix(name.removesuffix(SCALES), qweight, tensor)
                try:
                    matrix.check_values()
                except ValueError as error:
                    raise CheckpointError(self._path, f"{name.removesuffix(SCALES)}: {error}") from None
                yield name.removesuffix(SCALES), matrix
            else:
                is_matrix = len(self._shapes[name]) == 2
                yield name, tensor.to(self._dtype_of(info)) if is_matrix else tensor


def _without_suffixes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name.removesuffix(QWEIGHT): shape for name, shape in shapes.items() if not name.endswith(SCALES)}


def _listed(what: str, names: set[str]) -> list[str]:
    if not names:
        return []
    first = sorted(names)[:_LISTED]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [f"{what} {', '.join(first)}{more}"]
