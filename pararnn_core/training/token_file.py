"""Token ids of a text in a file, which is mapped into memory and so may be larger than it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
"""Token ids, uint16 or uint32."""


def id_type(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the narrowest type that holds the ids of a vocabulary."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


class TokenWriter:
    """A writer of a token file. num_tokens: written so far; lengths: tokens of each document."""

    def __init__(self, file: Path, vocab_size: int) -> None:
        self._path, self._type = file, id_type(vocab_size)
        self._file = file.open("wb")
        self.num_tokens, self.lengths = 0, list[int]()

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, ids: Sequence[int]) -> None:
        """Append a document. Raises OSError that names the file, such as for a full disk."""
        try:
            self._file.write(np.asarray(ids, self._type).tobytes())
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self._path)) from None
        self.num_tokens += len(ids)

    def write_all(self, documents: Iterable[Sequence[int]]) -> None:
        """Append documents and note their lengths."""
        for ids in documents:
            self.write(ids)
            self.lengths.append(len(ids))


def open_tokens(file: Path, vocab_size: int) -> Ids:
    """Return the ids of a token file, mapped into memory. An empty file has none."""
    if not file.stat().st_size:
        return np.empty(0, id_type(vocab_size))
    return np.memmap(file, id_type(vocab_size), "r")
