"""The point of an unfinished training in a file, replaced as a whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch

from pararnn_core.tuning.tuner import Epoch, Point

_FORMAT = "pararnn-tuning"


class ProgressFileError(Exception):
    """The file is none, or of another training."""


def write_point(path: Path, point: Point, key: str) -> None:
    """Replace the file. key: names data, model and options. Raises OSError."""
    fields = {name: value for name, value in asdict(point).items() if name != "tensors"}
    metadata = {"format": _FORMAT, "key": key, "point": json.dumps(fields)}
    fresh = path.with_name(f".{path.name}.tmp")
    with fresh.open("wb") as file:
        file.write(safetensors.torch.save(point.tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_point(path: Path, key: str) -> Point:
    """Return the point. Raises ProgressFileError, OSError."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        if metadata.get("format") != _FORMAT:
            raise ProgressFileError(f"{path} is no progress of pararnn tune")
        if metadata["key"] != key:
            raise ProgressFileError(
                f"{path} is the progress of a training with other data, options or weights: give those"
                " again, or leave --resume out to begin anew"
            )
        fields = json.loads(metadata["point"])
        fields["history"] = tuple(Epoch(*entry) for entry in fields["history"])
        return Point(tensors=tensors, **fields)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ProgressFileError(f"{path} cannot be read: {error}") from error
