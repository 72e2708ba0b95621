"""Reading of a checkpoint's small files without trust in their contents."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

_MAX_MESSAGE = 1000
_HUB_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+")
_HUB_SHARED_BLOB = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")
# O_NONBLOCK: a FIFO that replaces the file after the check must not block the open.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class CheckpointError(ValueError):
    """Error for a checkpoint that cannot be loaded or written, with path, reason and remedy.

    Unprintable characters are escaped, because names in a file may contain terminal commands.
    """

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        # The first cut bounds the work, the second the length, because escapes are longer than characters.
        super().__init__(_printable(f"{os.fspath(path)}: {why}"[:_MAX_MESSAGE])[:_MAX_MESSAGE])


def open_regular_file(path: Path, within: Path | None) -> FileIO:
    """Open a regular file for reading, without a buffer. Raises CheckpointError for everything else.

    within: the checkpoint's directory, which no link may leave; None: the user named this file
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
        if within is not None and not _belongs_to(real, within):
            raise CheckpointError(
                path, f"is a link that leads out of {within}: put a copy of the file in its place"
            )
        if not stat.S_ISREG(os.stat(real).st_mode):
            raise CheckpointError(path, "is missing or not a regular file")
        file = FileIO(os.open(real, _FLAGS))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(path, "is missing or not a regular file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(path, f"cannot be read ({_reason(error)})") from None
    # The path may have been replaced since the first check; the open file cannot be.
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise CheckpointError(path, "is missing or not a regular file")
    return file


def read_small_file(path: Path, limit: int, *, within: Path | None) -> bytes:
    """Read all bytes of a file. Raises CheckpointError if it has more than `limit` bytes.

    within: as `open_regular_file` takes it.
    """
    with open_regular_file(path, within) as file:
        try:
            # One more byte tells a file that is too large from one of exactly the limit.
            data = _read_at_most(file, limit + 1)
        except OSError as error:
            raise CheckpointError(path, f"cannot be read ({_reason(error)})") from None
    if len(data) > limit:
        raise CheckpointError(path, f"is larger than {limit} bytes")
    return data


def read_text(path: Path, limit: int, *, within: Path | None) -> str:
    """Read a small UTF-8 file. Raises CheckpointError for any other."""
    try:
        return read_small_file(path, limit, within=within).decode()
    except UnicodeDecodeError:
        raise CheckpointError(path, "is not UTF-8 text") from None


def read_json(path: Path, limit: int, *, within: Path | None) -> dict[str, Any]:
    """Read a small file with a JSON object. Raises CheckpointError for any other."""
    data = read_small_file(path, limit, within=within)
    try:
        return parse_json(data)
    except ValueError as error:
        raise CheckpointError(path, f"cannot be parsed: {error}") from None


def is_present(path: Path) -> bool:
    """Return True if the directory has an entry of this name, even a broken link."""
    # Reading a broken link is an error. Treating it as a missing file would change the model silently.
    return os.path.lexists(path)


def parse_json(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for other values, a repeated key, NaN, and deep nesting."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _belongs_to(real: Path, directory: Path) -> bool:
    root = Path(os.path.realpath(directory))
    return real.is_relative_to(root) or _is_hub_blob(real, root)


def _is_hub_blob(real: Path, root: Path) -> bool:
    """Return True if the file is a blob of the Hugging Face hub's cache for this snapshot.

    snapshots/<revision>/name is a link to blobs/<hash> of the same repository. In newer caches that is a link
    to <cache>/blobs/<two digits>/<hash>, which all repositories share.
    """
    for repository in _hub_repositories(root):
        if real.parent == repository / "blobs":
            return True
        shared = repository.parent / "blobs"
        if (
            _HUB_REPOSITORY.fullmatch(repository.name)
            and real.is_relative_to(shared)
            and _HUB_SHARED_BLOB.fullmatch(real.relative_to(shared).as_posix())
        ):
            return True
    return False


def _hub_repositories(root: Path) -> Iterator[Path]:
    """Yield the repositories of which `root` may be a snapshot or a folder of one."""
    return (parent.parent for parent in root.parents if parent.name == "snapshots")


def _read_at_most(file: FileIO, limit: int) -> bytes:
    # read() allocates as many bytes as it may return. So a small file is not read with the whole limit.
    left = min(os.fstat(file.fileno()).st_size + 1, limit)
    pieces = []
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
