"""The safetensors files of one set of weights: a file, a directory with one, or shards with an index."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from pararnn_core.storage.untrusted_file import CheckpointError, is_present, read_json
from pararnn_core.weights.safetensors_file import PICKLE_ADVICE, SafetensorsFile, TensorInfo

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})

_MAX_INDEX_BYTES = 16 << 20
# Without a slash or a leading dot a name cannot lead out of the checkpoint's directory.
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")


class WeightFiles:
    """A set of weights opened for reading; a context manager. Raises CheckpointError.

    It holds file descriptors but never a memory mapping.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack:
            self._owners = _open_files(path, stack)
            # Up to here an error closes the files that are already open.
            self._stack = stack.pop_all()

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        self._stack.close()

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """Entries of all tensors by name, in the order of names."""
        return {name: self._owners[name].tensors[name] for name in sorted(self._owners)}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())

    def read(self, name: str, on_chunk: Callable[[memoryview], None] | None = None) -> torch.Tensor:
        """See SafetensorsFile.read."""
        return self._owners[name].read(name, on_chunk)


def _open_files(path: Path, stack: ExitStack) -> dict[str, SafetensorsFile]:
    within = path if path.is_dir() else None
    if within is not None:
        _check_directory(path)
        if is_present(path / INDEX):
            return _open_shards(path, stack)
        path = path / WEIGHTS
    file = stack.enter_context(SafetensorsFile(path, within))
    return dict.fromkeys(file.tensors, file)


def _check_directory(path: Path) -> None:
    present = [name for name in (WEIGHTS, INDEX) if is_present(path / name)]
    if len(present) == 2:
        raise CheckpointError(path, f"holds both {WEIGHTS} and {INDEX}: remove the one that is out of date")
    if not present:
        pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix in PICKLE_SUFFIXES)
        if pickles:
            raise CheckpointError(path / pickles[0], PICKLE_ADVICE)
        raise CheckpointError(path, f"holds no {WEIGHTS}")


def _open_shards(path: Path, stack: ExitStack) -> dict[str, SafetensorsFile]:
    """Open all shards. Raises CheckpointError unless index and shards have the same tensors."""
    weight_map = _read_index(path)
    files = {
        name: stack.enter_context(SafetensorsFile(path / name, within=path))
        for name in sorted(set(weight_map.values()))
    }
    for name, shard in weight_map.items():
        if name not in files[shard].tensors:
            raise CheckpointError(path / INDEX, f"places {name} in {shard}, which does not hold it")
    # A tensor that the index does not name would be left out silently.
    for shard, file in files.items():
        for name in file.tensors:
            if weight_map.get(name) != shard:
                raise CheckpointError(path / shard, f"holds {name}, which {INDEX} does not place there")
    return {name: files[shard] for name, shard in weight_map.items()}


def _read_index(folder: Path) -> dict[str, str]:
    path = folder / INDEX
    weight_map = read_json(path, _MAX_INDEX_BYTES, within=folder).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(path, "has no weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
            raise CheckpointError(
                path, f"places {name} in {shard!r:.80}, which is no plain *.safetensors name"
            )
    return weight_map


def is_finite(tensor: torch.Tensor) -> bool:
    """Return True if no element is NaN or infinite. It needs one pass and no temporary tensor."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
