"""Writing of checkpoints, completely or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pararnn_core.checkpoint.checkpoint_directory import CARD, CONFIG, STORED_DTYPES, check_shapes
from pararnn_core.checkpoint.checkpoint_text import (
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    NAMED_TEMPLATES,
    TEXT_FILES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    CheckpointText,
)
from pararnn_core.checkpoint.fingerprint import Fingerprint
from pararnn_core.checkpoint.tokenizer_file import TokenizerFile
from pararnn_core.models.pararnn.config import MODEL_TYPE, ModelConfig
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.storage.atomic_directory import replacing
from pararnn_core.storage.tensor_file import write_tensors
from pararnn_core.storage.untrusted_file import CheckpointError, parse_json, read_json
from pararnn_core.weights.quantized_matrix import QWEIGHT, SCALES
from pararnn_core.weights.weight_files import INDEX, WEIGHTS, is_finite

MAX_SHARD_BYTES = 4 << 30
_MAX_JSON_BYTES = 1 << 20
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_OWN_FILES = frozenset({CONFIG, WEIGHTS, INDEX, CARD, *TEXT_FILES})

PathLike = str | os.PathLike[str]


def save_checkpoint(
    model: ParaRNNForCausalLM,
    path: PathLike,
    tokenizer: PathLike | None = None,
    chat_template: str | None = None,
    card: str | None = None,
    generation: Mapping[str, Any] | None = None,
    dtype: str | None = None,
) -> str:
    """Write a model, packed or not, as `write_checkpoint` does. dtype: float32 or bfloat16; None keeps it."""
    config = model.config if dtype is None else replace(model.config, dtype=dtype)
    return write_checkpoint(
        config,
        dict(model.weights()),
        path,
        tokenizer=tokenizer,
        chat_template=chat_template,
        card=card,
        generation=generation,
    )


def write_checkpoint(
    config: ModelConfig,
    tensors: Mapping[str, torch.Tensor],
    path: PathLike,
    *,
    tokenizer: PathLike | None = None,
    chat_template: str | None = None,
    card: str | None = None,
    generation: Mapping[str, Any] | None = None,
    further: Mapping[str, bytes] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> str:
    """Write the directory `path` and return its fingerprint. Raises CheckpointError if that is not possible.

    tensors: by their names in the format; floats are rounded to config.dtype, integers and scales are not
    tokenizer: a tokenizer.json, or a directory with one. From a directory all text files are copied: chat
        templates, tokenizer files and generation_config.json.
    chat_template: becomes the only template, even if that directory has others
    card: text of README.md; None writes a plain description
    generation: defaults in generation_config.json beside bos and eos; None takes those of the directory
    further: bytes of other files, by name, such as LICENSE
    A checkpoint at `path` is replaced; other files there are kept. `path` never holds half a checkpoint.
    """
    target = Path(path).resolve()
    check_shapes(target, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
    return write_directory(
        target,
        config.to_dict(),
        _stored(tensors, getattr(torch, config.dtype)),
        tokenizer=tokenizer,
        chat_template=chat_template,
        card=partial(_plain_card, config) if card is None else lambda _: card,
        generation=generation,
        further=further,
        max_shard_bytes=max_shard_bytes,
    )


def write_directory(
    target: Path,
    config: Mapping[str, Any],
    stored: Mapping[str, torch.Tensor],
    *,
    card: Callable[[str], str],
    tokenizer: PathLike | None = None,
    chat_template: str | None = None,
    generation: Mapping[str, Any] | None = None,
    further: Mapping[str, bytes] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> str:
    """Write a checkpoint of any architecture, and return its fingerprint. Raises CheckpointError.

    config: the fields of config.json, with vocab_size and the ids that are known
    stored: the tensors as the files hold them, in the order of names
    card: the text of README.md for a fingerprint; the rest is as `write_checkpoint` takes it
    """
    texts = _text_files(config, tokenizer, chat_template)
    if generation is None:
        generation = parse_json(texts.get(GENERATION_CONFIG, b"{}"))
    fields = dict(config)
    fields["fingerprint"] = _fingerprint(target, fields, stored, texts.get(TOKENIZER))
    special = {name: config.get(name) for name in ("bos_token_id", "eos_token_id")}
    texts[GENERATION_CONFIG] = _json({k: v for k, v in special.items() if v is not None} | dict(generation))
    texts[CARD] = card(fields["fingerprint"]).encode()
    texts[CONFIG] = _json(fields)
    # The checkpoint's own files win over others of the same name.
    texts = {**(further or {}), **texts}
    check_replaceable(target)
    try:
        with replacing(target, keep=lambda name: not (_is_own_file(name) or name in texts)) as directory:
            _write_weights(directory, stored, max_shard_bytes)
            for name, data in texts.items():
                (directory / name).parent.mkdir(exist_ok=True)
                (directory / name).write_bytes(data)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(target, f"cannot be written: {error}") from error
    return str(fields["fingerprint"])


def _stored(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors as the files hold them, in the order of names."""
    stored: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    # The fingerprint takes tensors by name, as a reader finds them in any set of files.
    for name in sorted(tensors):
        kept = name.endswith((QWEIGHT, SCALES))
        tensor = tensors[name].detach().to("cpu", None if kept else dtype).contiguous()
        # safetensors refuses tensors that share memory, such as a tied head.
        storage = tensor.untyped_storage().data_ptr()
        stored[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    return stored


def _fingerprint(
    path: Path, fields: Mapping[str, Any], stored: Mapping[str, torch.Tensor], tokenizer: bytes | None
) -> str:
    fingerprint = Fingerprint(fields, tokenizer)
    for name, tensor in stored.items():
        if tensor.is_floating_point() and not is_finite(tensor):
            raise CheckpointError(path, f"cannot be written: {name} holds NaN or infinity")
        fingerprint.begin_tensor(
            name, STORED_DTYPES[str(tensor.dtype).removeprefix("torch.")], tuple(tensor.shape)
        )
        # NumPy has no bfloat16, so tensors pass as bytes.
        fingerprint.add(tensor.view(-1).view(torch.uint8).numpy().data)
    return fingerprint.hexdigest()


def _text_files(
    config: Mapping[str, Any], source: PathLike | None, chat_template: str | None
) -> dict[str, bytes]:
    """Return the bytes of all text files, by path below the checkpoint's directory."""
    if source is None:
        if chat_template is not None:
            raise ValueError("chat_template: needs a tokenizer; give tokenizer too")
        return {}
    path = Path(source)
    folder = path if path.is_dir() else None
    files: dict[str, bytes] = {}
    # Transformers needs the class to load a tokenizer.json without other files.
    fields: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if folder is not None:
        files, path = CheckpointText(folder).files(), folder / TOKENIZER
        fields |= CheckpointText(folder).fields(TOKENIZER_CONFIG)
    tokenizer = TokenizerFile.read(path, within=folder)
    tokenizer.check_fits(path, config["vocab_size"])
    for name in ("bos_token", "eos_token"):
        token = config.get(f"{name}_id")
        if token is not None and token in tokenizer.tokens:
            fields[name] = tokenizer.tokens[token]
    if chat_template is not None:
        fields["chat_template"] = chat_template
        files = {name: data for name, data in files.items() if not _is_template(name)}
    return files | {TOKENIZER: tokenizer.data, TOKENIZER_CONFIG: _json(fields)}


def _is_template(name: str) -> bool:
    return name == CHAT_TEMPLATE or name.startswith(f"{NAMED_TEMPLATES}/")


def _write_weights(directory: Path, stored: Mapping[str, torch.Tensor], max_shard_bytes: int) -> None:
    shards = _shards(stored, max_shard_bytes)
    if len(shards) == 1:
        write_tensors(stored, directory / WEIGHTS)
        return
    weight_map = {}
    for i, names in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        write_tensors({name: stored[name] for name in names}, directory / file)
        weight_map.update(dict.fromkeys(names, file))
    total = sum(tensor.nbytes for tensor in stored.values())
    (directory / INDEX).write_bytes(_json({"metadata": {"total_size": total}, "weight_map": weight_map}))


def _shards(stored: Mapping[str, torch.Tensor], max_shard_bytes: int) -> list[list[str]]:
    """Split the names, in order, into shards of at most max_shard_bytes; a larger tensor is a shard alone."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in stored.items():
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def check_replaceable(target: Path) -> None:
    """Raise CheckpointError if target exists, unless it is empty or a checkpoint of this project."""
    # A mistyped path must not cost anyone's files.
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    config = target / CONFIG
    fields = read_json(config, _MAX_JSON_BYTES, within=target) if config.is_file() else {}
    # Only this project's writers add fingerprints to models of other architectures.
    if fields.get("model_type") != MODEL_TYPE and "fingerprint" not in fields:
        raise CheckpointError(target, "exists and is no checkpoint of this project: choose another path")


def _is_own_file(name: str) -> bool:
    return name in _OWN_FILES or _SHARD.fullmatch(name) is not None


def _json(fields: Mapping[str, Any]) -> bytes:
    # NaN is not JSON, and the reader of checkpoints refuses it.
    return (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode()


def _plain_card(config: ModelConfig, fingerprint: str) -> str:
    return (
        f"# Para{config.cell.upper()}, {config.num_parameters:,} parameters\n\n"
        f"Hidden size {config.hidden_size}, {config.num_hidden_layers} layers, "
        f"vocabulary {config.vocab_size}, weights {config.dtype}.\n"
        f"Fingerprint {fingerprint}.\n\nNo quality was measured.\n"
    )
