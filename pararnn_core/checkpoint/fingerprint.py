"""What identifies a model: states, caches and sessions of one fingerprint are never used with another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


class Fingerprint:
    """SHA-256 over the config, the tokenizer and the weights, whatever files the weights lie in.

    Hashed in this order, each after its length as 8 bytes, little end first: a format name; config.json
    without its fingerprint, as JSON with sorted keys and no spaces; tokenizer.json (nothing if there is
    none); then for every tensor, by name: [name, dtype, shape] as such JSON, and its bytes without a length.
    """

    def __init__(self, config: Mapping[str, Any], tokenizer: bytes | None) -> None:
        self._hash = hashlib.sha256()
        self._last = ""
        self._section(b"pararnn checkpoint 1")
        self._section(_canonical({key: value for key, value in config.items() if key != "fingerprint"}))
        self._section(tokenizer or b"")

    def begin_tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """To be called in the order of names, then `add` with all of the tensor's bytes."""
        if name <= self._last:
            raise ValueError(f"tensors must come by name: {name} after {self._last}")
        self._last = name
        self._section(_canonical([name, dtype, list(shape)]))

    def add(self, data: memoryview | bytes) -> None:
        """The next bytes of the tensor begun."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._hash.hexdigest()

    def _section(self, data: bytes) -> None:
        self._hash.update(len(data).to_bytes(8, "little"))
        self._hash.update(data)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
