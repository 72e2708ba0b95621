"""Checkpoints of any architecture, as they are served."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pararnn_core.checkpoint.checkpoint import checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.checkpoint.checkpoint_directory import config_fields
from pararnn_core.checkpoint.checkpoint_text import TOKENIZER, CheckpointText
from pararnn_core.checkpoint.rwkv7_checkpoint import load_rwkv7, rwkv7_config
from pararnn_core.models.base import ServingConfig, ServingModel
from pararnn_core.models.pararnn import state_layout as pararnn_layout
from pararnn_core.models.rwkv7 import config as rwkv7
from pararnn_core.models.rwkv7 import state_layout as rwkv7_layout
from pararnn_core.ops.devices import usable_device
from pararnn_core.state import StateParts
from pararnn_core.storage.untrusted_file import CheckpointError
from pararnn_core.weights.safetensors_file import TensorInfo
from pararnn_core.weights.weight_files import WeightFiles

Progress = Callable[[int, int], None]

_EMBEDDINGS, _HEAD = ("embedding.", "model.embeddings."), "lm_head."


@dataclass(frozen=True)
class ServingInfo:
    """The contents of config.json and of the weights' headers. fingerprint: None if config.json has none."""

    config: ServingConfig
    state_parts: StateParts
    fingerprint: str | None
    tensors: tuple[TensorInfo, ...]
    has_tokenizer: bool
    has_chat_template: bool

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors)

    @property
    def decode_bytes(self) -> int:
        """Bytes of the weights that a step reads, whatever its batch: all but the embedding's rows."""
        has_head = any(info.name.startswith(_HEAD) for info in self.tensors)
        # A tied embedding is the head too, which reads all of it.
        return sum(
            info.nbytes for info in self.tensors if not (has_head and info.name.startswith(_EMBEDDINGS))
        )


def serving_info(path: str | os.PathLike[str], dtype: str | None = None) -> ServingInfo:
    """Return a checkpoint's description without reading a weight. Checks names, shapes, dtypes and sizes.

    dtype: that to which serving would convert the weights
    """
    folder = Path(path)
    fields = _fields(folder)
    if fields.get("model_type") == rwkv7.MODEL_TYPE:
        return _rwkv7_info(folder, fields, dtype)
    info = checkpoint_info(folder)
    # Serving refuses to convert integers.
    config = info.config
    if dtype is not None and config.quantization is None:
        config = replace(config, dtype=dtype)
    return ServingInfo(
        config,
        pararnn_layout.state_parts(config),
        info.fingerprint,
        info.tensors,
        info.has_tokenizer,
        info.has_chat_template,
    )


def load_serving_model(
    path: str | os.PathLike[str],
    device: str = "cpu",
    dtype: str | None = None,
    progress: Progress | None = None,
) -> ServingModel:
    """Load the model of a checkpoint directory, whose config.json names its architecture in model_type.

    device, dtype, progress: as `load_checkpoint` takes them
    Raises CheckpointError if the checkpoint is damaged, or if its architecture has no kernels for the device.
    """
    folder = Path(path)
    fields = _fields(folder)
    if fields.get("model_type") != rwkv7.MODEL_TYPE:
        return load_checkpoint(folder, device=device, dtype=dtype, progress=progress)
    if usable_device(device).type != "cpu":
        raise CheckpointError(folder, "is an RWKV-7, which runs on a CPU only in this version: --device cpu")
    return load_rwkv7(folder, fields, dtype, progress)


def verify_serving_checkpoint(path: str | os.PathLike[str], progress: Progress | None = None) -> str:
    """Read every byte and return the fingerprint. Raises CheckpointError if config.json has another one."""
    folder = Path(path)
    fields = _fields(folder)
    if fields.get("model_type") != rwkv7.MODEL_TYPE:
        return verify_checkpoint(folder, progress)
    return str(load_rwkv7(folder, fields, progress=progress).fingerprint)


def _fields(folder: Path) -> dict[str, Any]:
    """Return the object of config.json; {} of a path that is no directory, for which others have an error."""
    return config_fields(folder) if folder.is_dir() else {}


def _rwkv7_info(folder: Path, fields: Mapping[str, Any], dtype: str | None) -> ServingInfo:
    config = rwkv7_config(folder, fields, dtype)
    text = CheckpointText(folder)
    with WeightFiles(folder) as files:
        tensors = tuple(files.tensors.values())
    return ServingInfo(
        config,
        rwkv7_layout.state_parts(config),
        fields.get("fingerprint"),
        tensors,
        text.has(TOKENIZER),
        bool(text.chat_templates()),
    )
