"""Loading of checkpoints: directories in the Hugging Face layout, checked completely before use."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch

from pararnn_core.checkpoint.checkpoint_directory import STORED_DTYPES, CheckpointDirectory, empty_model
from pararnn_core.checkpoint.checkpoint_writer import save_checkpoint, write_checkpoint
from pararnn_core.checkpoint.fingerprint import Fingerprint
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.device_memory import free_bytes, too_large
from pararnn_core.models.pararnn.layer_tensors import EMBEDDING, HEAD, RECURRENT_OF_A_LAYER
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.ops.devices import usable_device
from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES, QuantizedMatrix
from pararnn_core.weights.safetensors_file import DTYPES, TensorInfo
from pararnn_core.weights.weight_files import is_finite

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "checkpoint_info",
    "load_checkpoint",
    "save_checkpoint",
    "verify_checkpoint",
    "write_checkpoint",
]

Progress = Callable[[int, int], None]

# Hashing takes about 1 s per GB, so a large model would start late.
VERIFIED_BY_DEFAULT_BYTES = 256 << 20


@dataclass(frozen=True)
class CheckpointInfo:
    """The contents of config.json and of the weights' headers. fingerprint: None if config.json has none."""

    config: ModelConfig
    fingerprint: str | None
    tensors: tuple[TensorInfo, ...]
    has_tokenizer: bool
    has_chat_template: bool

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors)


def checkpoint_info(path: str | os.PathLike[str]) -> CheckpointInfo:
    """Return a checkpoint's description without reading a weight. Checks names, shapes, dtypes and sizes."""
    with CheckpointDirectory(Path(path)) as directory:
        return CheckpointInfo(
            directory.config,
            directory.fingerprint,
            tuple(directory.weights.tensors.values()),
            directory.tokenizer is not None,
            directory.has_chat_template,
        )


def load_checkpoint(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    dtype: str | None = None,
    pack: bool = True,
    progress: Progress | None = None,
    verify: bool | None = None,
) -> ParaRNNForCausalLM:
    """Load the model of a checkpoint directory. Raises CheckpointError if the checkpoint is damaged.

    dtype: "float32" or "bfloat16" converts the weights; None keeps their type. Quantised ones take no dtype.
    pack: prepares the model to serve, and sets its config's activation dtype to that of the device. On CUDA
        the matrices stay as they are.
    progress: progress(bytes read, bytes in all), called in the calling thread
    verify: recomputes the fingerprint from all bytes, about 1 s per GB; None does so up to 256 MiB of weights
    Names, shapes, dtypes, sizes and finiteness are always checked. Raises DeviceUnavailable if this machine
    has no such device.
    """
    if dtype is not None and dtype not in STORED_DTYPES:
        raise ValueError(f"dtype must be float32 or bfloat16, not {dtype!r}")
    where = usable_device(device)
    on_cpu = where.type == "cpu"
    with CheckpointDirectory(Path(path)) as directory:
        if directory.config.quantization is not None and dtype is not None:
            raise CheckpointError(
                directory.path, f"is quantised and cannot be held as {dtype}: load it as it is"
            )
        if verify is None:
            verify = directory.weights.nbytes <= VERIFIED_BY_DEFAULT_BYTES
        # States belong to a fingerprint, so a checkpoint without one is always hashed.
        reader = _WeightReader(directory, verify or directory.fingerprint is None, progress)
        config = directory.config if dtype is None else replace(directory.config, dtype=dtype)
        model = empty_model(config)
        if not on_cpu:
            _check_room(directory, config, where)
        # Packing places need all shapes first. Then each matrix is packed as soon as it is read, and memory
        # holds only one row-major matrix at a time.
        if pack and on_cpu:
            for name, weight in _without_memory(directory):
                model.set_weight(*_prepared(name, weight, config, "meta"))
            model.pack_what_is_set()
        with _out_of_memory_in_words(directory, where):
            for name, weight in reader.read_weights():
                model.set_weight(*_prepared(name, weight, config, where))
        fingerprint = reader.checked_fingerprint()
        # Other weight types give other states, so that sessions must not be shared with the original.
        if config != directory.config:
            fingerprint = sha256(f"{fingerprint} as {dtype}".encode()).hexdigest()
    model.fingerprint = fingerprint
    model.eval()
    if not pack:
        return model
    if not on_cpu:
        model.config = replace(config, activation_dtype=config.activation_dtype_on(where.type))
    return model.pack()


def verify_checkpoint(path: str | os.PathLike[str], progress: Progress | None = None) -> str:
    """Read every byte and return the fingerprint. Raises CheckpointError if config.json has another one."""
    with CheckpointDirectory(Path(path)) as directory:
        reader = _WeightReader(directory, True, progress)
        for _ in reader.read_weights():
            pass
        return reader.checked_fingerprint()


class _WeightReader:
    """Reader of all weights in the order of names. It hashes them, checks their values, reports progress."""

    def __init__(self, directory: CheckpointDirectory, hashed: bool, progress: Progress | None) -> None:
        self._directory = directory
        self._progress = progress
        self._done = 0
        self._total = directory.weights.nbytes
        self._embedding_digest = b""
        self._hash = Fingerprint(directory.config_fields, directory.tokenizer) if hashed else None

    def read_weights(self) -> Iterator[tuple[str, torch.Tensor | QuantizedMatrix]]:
        """Yield each weight with the name of its parameter."""
        for name, weight in _weights_of(self._directory, self._read_tensors()):
            if isinstance(weight, QuantizedMatrix):
                try:
                    weight.check_values()
                except ValueError as error:
                    raise CheckpointError(self._directory.path, f"{name}: {error}") from None
            yield name, weight

    def _read_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, info in self._directory.weights.tensors.items():
            if self._hash is not None:
                self._hash.begin_tensor(name, info.dtype, info.shape)
            tensor = self._directory.weights.read(name, self._on_chunk)
            if tensor.is_floating_point() and not is_finite(tensor):
                raise CheckpointError(
                    self._directory.path, f"{name} holds NaN or infinity and cannot be used"
                )
            if self._directory.repeats_head and name in (EMBEDDING, HEAD):
                self._check_repeated(name, tensor)
            if name != HEAD or not self._directory.repeats_head:
                yield name, tensor

    def _check_repeated(self, name: str, tensor: torch.Tensor) -> None:
        """Raise CheckpointError if the stored head of a tied model differs from the embedding."""
        # The embedding is read first. It may be packed before the head is read, so only its digest is kept.
        digest = sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).digest()
        if name == EMBEDDING:
            self._embedding_digest = digest
        elif digest != self._embedding_digest:
            raise CheckpointError(
                self._directory.path,
                f"tie_embeddings is true, but {HEAD} differs from {EMBEDDING}: set it to false",
            )

    def checked_fingerprint(self) -> str:
        """Return the fingerprint of the weights read, or the stored one if they were not hashed.

        Call it after read_weights. Raises CheckpointError if the two differ.
        """
        stored = self._directory.fingerprint
        found = stored if self._hash is None else self._hash.hexdigest()
        if found is None or stored not in (None, found):
            raise CheckpointError(
                self._directory.path,
                f"the files are not those that were saved: their fingerprint is {found}, but config.json has "
                f"{stored}. Copy or download the checkpoint again",
            )
        return found

    def _on_chunk(self, chunk: memoryview) -> None:
        self._done += len(chunk)
        if self._hash is not None:
            self._hash.add(chunk)
        if self._progress is not None:
            self._progress(self._done, self._total)


def _without_memory(directory: CheckpointDirectory) -> Iterator[tuple[str, torch.Tensor | QuantizedMatrix]]:
    """Yield the same names and shapes as _WeightReader.read_weights, on the meta device. It reads nothing."""
    tensors = directory.weights.tensors
    if directory.repeats_head:
        del tensors[HEAD]
    sizes = ((name, info.shape, DTYPES[info.dtype]) for name, info in tensors.items())
    return _weights_of(
        directory, ((name, torch.empty(shape, dtype=dtype, device="meta")) for name, shape, dtype in sizes)
    )


def _weights_of(
    directory: CheckpointDirectory, tensors: Iterable[tuple[str, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor | QuantizedMatrix]]:
    """Yield each weight with the name of its parameter. tensors: in the order of names."""
    # In the order of names the scales of a matrix follow its qweight directly.
    qweight = torch.empty(0)
    for name, tensor in tensors:
        if name.endswith(QWEIGHT):
            qweight = tensor
        elif name.endswith(SCALES):
            matrix = name.removesuffix(SCALES)
            yield matrix, directory.matrix(matrix, qweight, tensor)
        else:
            yield name, tensor


def _prepared(
    name: str, weight: torch.Tensor | QuantizedMatrix, config: ModelConfig, device: str | torch.device
) -> tuple[str, torch.Tensor | QuantizedMatrix]:
    if isinstance(weight, QuantizedMatrix):
        return name, weight.to(device)
    if config.recurrent_clip is not None and name.endswith(RECURRENT_OF_A_LAYER):
        weight.clamp_(-config.recurrent_clip, config.recurrent_clip)
    return name, weight.to(device, getattr(torch, config.dtype))


def _check_room(directory: CheckpointDirectory, config: ModelConfig, device: torch.device) -> None:
    """Raise CheckpointError if the weights do not fit into the free memory of the device."""
    itemsize = getattr(torch, config.dtype).itemsize
    needed = sum(
        info.nbytes if name.endswith((QWEIGHT, SCALES)) else math.prod(info.shape) * itemsize
        for name, info in directory.weights.tensors.items()
    )
    free = free_bytes(device)
    if needed > free:
        raise CheckpointError(directory.path, too_large(needed, free, str(device)))


@contextmanager
def _out_of_memory_in_words(directory: CheckpointDirectory, device: torch.device) -> Iterator[None]:
    """Turn torch's out-of-memory error into a CheckpointError with sizes and advice."""
    # _check_room cannot exclude it: other processes may take memory between the check and the load.
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        problem = too_large(directory.weights.nbytes, free_bytes(device), str(device))
        raise CheckpointError(directory.path, problem) from error
