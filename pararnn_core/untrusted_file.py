"""Small files of a checkpoint that nobody vouches for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_MAX_MESSAGE = 1000


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded or written: where, why, and what to do.

    In printable characters, the others escaped: names in a file may be made to move the reader's cursor.
    """

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(_printable(f"{os.fspath(path)}: {why}"[:_MAX_MESSAGE])[:_MAX_MESSAGE])


def read_small_file(path: Path, limit: int) -> bytes:
    """All bytes of a file of at most `limit` bytes; CheckpointError otherwise."""
    try:
        if not path.is_file():
            raise CheckpointError(path, "is missing or not a regular file")
        with open(path, "rb") as file:
            # read() allocates what it is asked for, so it is not asked for the limit.
            data = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise CheckpointError(path, f"is larger than {limit} bytes")
    return data


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """A file with a JSON object of at most `limit` bytes; CheckpointError otherwise."""
    data = read_small_file(path, limit)
    try:
        return parse_json(data)
    except ValueError as error:
        raise CheckpointError(path, f"cannot be parsed: {error}") from None


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object. ValueError for anything else, a key that stands twice, NaN, and deep nesting."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
