"""The fingerprint of a model. A state, cache or session is used only with the fingerprint that made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


class Fingerprint:
    """SHA-256 of the config, the tokenizer and the weights, however the weights are divided into files.

    It covers these sections, in this order: a format name; config.json without its fingerprint, as JSON with
    sorted keys and no spaces; tokenizer.json, empty if there is none; then for each tensor, by name,
    [name, dtype, shape] as such JSON, followed by its bytes. Before each section, but not before a tensor's
    bytes, comes its length as 8 bytes, little-endian.
    """

    def __init__(self, config: Mapping[str, Any], tokenizer: bytes | None) -> None:
        self._hash = hashlib.sha256()
        self._last = ""
        # The name keeps these hashes apart from those of any later format.
        self._section(b"pararnn checkpoint 1")
        self._section(_canonical({key: value for key, value in config.items() if key != "fingerprint"}))
        self._section(tokenizer or b"")

    def begin_tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Begin the next tensor, in the order of names. Call `add` with all of its bytes afterwards."""
        # Another order gives another hash, so a caller that mixes it up must fail.
        if name <= self._last:
            raise ValueError(f"tensors must come by name: {name} after {self._last}")
        self._last = name
        self._section(_canonical([name, dtype, list(shape)]))

    def add(self, data: memoryview | bytes) -> None:
        """Hash the next bytes of the tensor."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        """Return the fingerprint, 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def _section(self, data: bytes) -> None:
        # Without lengths, bytes moved from one section to the next would give the same hash.
        self._hash.update(len(data).to_bytes(8, "little"))
        self._hash.update(data)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
