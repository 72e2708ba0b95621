"""Reading of weights that other programs wrote, as a flat mapping of names to tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pararnn_core.convert.convert_keys import is_ignored
from pararnn_core.storage.untrusted_file import CheckpointError, is_present, open_regular_file
from pararnn_core.weights.safetensors_file import PICKLE_ADVICE, is_pickle
from pararnn_core.weights.weight_files import INDEX, PICKLE_SUFFIXES, WEIGHTS, WeightFiles

_NESTED = ("model", "state_dict", "model_state_dict")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")


def read_source(path: Path, allow_pickle: bool, ignore: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """Return all tensors of a safetensors file, a directory with such files, or a pickled state dict.

    allow_pickle: permits the pickle
    ignore: patterns of names in the file that are left out
    The state dict may be at "model", "state_dict" or "model_state_dict" of the pickled object. Prefixes that
    wrappers add to every name are removed. Raises CheckpointError for all other contents.
    """
    if not path.exists():
        raise CheckpointError(path, "does not exist")
    within = path if path.is_dir() else None
    path = _file_of_directory(path) if within is not None else path
    if not path.is_dir():
        with BufferedReader(open_regular_file(path, within)) as file:
            if is_pickle(file.read(8)):
                if not allow_pickle:
                    raise CheckpointError(path, PICKLE_ADVICE)
                file.seek(0)
                return _without_wrappers(_read_pickle(path, file, ignore))
    with WeightFiles(path) as weights:
        return _without_wrappers(
            {name: weights.read(name) for name in weights.tensors if not is_ignored(name, ignore)}
        )


def _file_of_directory(path: Path) -> Path:
    """Return the directory's only pickle if it holds no safetensors weights, else the directory itself."""
    if is_present(path / WEIGHTS) or is_present(path / INDEX):
        return path
    pickles = [entry for entry in path.iterdir() if entry.suffix in PICKLE_SUFFIXES]
    # To choose one of several files would be a guess.
    return pickles[0] if len(pickles) == 1 else path


def _read_pickle(path: Path, file: BinaryIO, ignore: Collection[str]) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # A hostile or broken pickle may raise anything.
        raise CheckpointError(path, f"cannot be read as plain tensors: {error}") from None
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _only_tensors(path, content, ignore)


def _only_tensors(path: Path, content: Any, ignore: Collection[str]) -> dict[str, torch.Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(path, "holds no state dict")
    for name, value in content.items():
        if isinstance(name, str) and is_ignored(name, ignore):
            continue
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(
                path, f"holds {name!r:.80}, which is no tensor: save model.state_dict() alone"
            )
    return {name: tensor for name, tensor in content.items() if not is_ignored(name, ignore)}


def _without_wrappers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Twice, because torch.compile and DistributedDataParallel wrap a model in either order.
    for prefix in _WRAPPER_PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
