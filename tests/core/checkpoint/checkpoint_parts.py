"""The parts of a sound checkpoint, to be spoilt and written again."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"

Entry = dict[str, Any]


@dataclass
class Parts:
    """header and tensors by name, the latter in the order of the file.  raw: files as they are to be."""

    config: dict[str, Any]
    header: dict[str, Entry]
    tensors: dict[str, bytearray]
    raw: dict[str, bytes]
    random: random.Random
    keeps_offsets: bool = False

    @classmethod
    def read(cls, path: Path, source: random.Random) -> Parts:
        weights = (path / WEIGHTS).read_bytes()
        length = int.from_bytes(weights[:8], "little")
        header, data = json.loads(weights[8 : 8 + length]), weights[8 + length :]
        header.pop("__metadata__", None)
        tensors = {name: bytearray(data[slice(*entry["data_offsets"])]) for name, entry in header.items()}
        config = json.loads((path / CONFIG).read_bytes())
        return cls(config, header, tensors, {TOKENIZER: (path / TOKENIZER).read_bytes()}, source)

    def write(self, path: Path) -> None:
        files = {CONFIG: json.dumps(self.config).encode(), WEIGHTS: self.weights_file()} | self.raw
        for name, data in files.items():
            (path / name).write_bytes(data)

    def weights_file(self) -> bytes:
        """Offsets follow the tensors' bytes unless a mutation has set them."""
        end = 0
        for name, entry in self.header.items():
            size = len(self.tensors.get(name, b""))
            if not self.keeps_offsets:
                entry["data_offsets"] = [end, end + size]
            end += size
        data = b"".join(bytes(self.tensors.get(name, b"")) for name in self.header)
        return with_header(json.dumps(self.header).encode(), data)

    def pick(self, suffix: str) -> str:
        """Some tensor whose name ends so."""
        return self.random.choice([name for name in self.header if name.endswith(suffix)])

    @property
    def quantization(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.config["quantization_config"]
        return fields


def with_header(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data
