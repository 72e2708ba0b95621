"""Editing the files of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pararnn_core.models.pararnn.model import ParaRNNForCausalLM


def weights_of(model: ParaRNNForCausalLM) -> dict[str, torch.Tensor]:
    return dict(model.weights())


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def edit_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header, data = header_of(path)
    change(header)
    write_header(path, header, data)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Copies: load_file's tensors are views of the file, which is about to be written."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = read_tensors(path)
    change(tensors)
    save_file(tensors, path)


def change_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)
