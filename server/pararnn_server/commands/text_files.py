"""Text for a command: a file, or all files of a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from pararnn_server.commands.failure import CommandFailed
from pararnn_server.text.tokenizer import Tokenizer


class TextFiles:
    """The UTF-8 files below `path`, in the order of their names, or `path` itself; hidden ones are left out.

    CommandFailed, naming the option, for a path without text and for a file that is not UTF-8; in a folder
    such a file is left out, and `description` says so.
    """

    def __init__(self, option: str, path: Path) -> None:
        self._paths: list[Path] = []
        self._name, self._num_bytes, left_out = path.resolve().name, 0, 0
        for file in _files(option, path):
            text = _text(file)
            if text is None and file == path:
                raise CommandFailed(f"{option} {path}: cannot be read as UTF-8 text")
            if text is None:
                left_out += 1
            elif text.strip():
                self._paths.append(file)
                # Texts are read again when they are needed: a corpus may be larger than memory.
                self._num_bytes += len(text.encode())
        if not self._paths:
            raise CommandFailed(f"{option} {path}: holds no text")
        self._left_out, self._is_folder = left_out, path.is_dir()

    @property
    def description(self) -> str:
        """The name of the text in a card."""
        size = f"{self._num_bytes:,} bytes"
        if not self._is_folder:
            return f"`{self._name}` ({size})"
        left_out = f", {self._left_out} that are no UTF-8 text left out" if self._left_out else ""
        return f"{len(self._paths)} files of `{self._name}` ({size}{left_out})"

    def documents(self, tokenizer: Tokenizer) -> Iterator[list[int]]:
        """Token ids of each file, read as they are asked for. A BOS comes first where the model has one."""
        start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        for path in self._paths:
            text = _text(path)
            if text is None:
                raise CommandFailed(f"{path}: changed while it was being read")
            # Plain characters: a corpus that spells a special token does not mean it.
            yield start + asyncio.run(tokenizer.encode(text, special=False))


def _files(option: str, path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CommandFailed(f"{option} {path}: is no file and no folder")
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(
        file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _text(path: Path) -> str | None:
    """Return the text; None if it cannot be read as UTF-8."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
