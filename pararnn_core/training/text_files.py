"""The text of a file or a folder, in documents of bounded size.

Large files are cut at line ends, so memory does not grow with a file, not even with one of a single line.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 1 << 20
LARGEST_PIECE = 256 << 10
SMALLEST_PIECE = 4 << 10
# A text of one file becomes about so many documents, some of which are held out.
PIECES_OF_A_TEXT = 40

Progress = Callable[[str, int, int], None]


class TextError(ValueError):
    """Error: a path holds no text that can be read. The message names it and says what to do."""


@dataclass(frozen=True)
class Document:
    """A file, or a piece of a large one. name: relative path, and the number of the piece."""

    name: str
    text: str


class TextFiles:
    """The text files below a folder, in the order of their names, or one file. Each is read when needed.

    Hidden files are left out, and so are files of a folder that are empty or not text of this encoding.
    The constructor reads everything once. Raises TextError if there is no text, or if a single file cannot
    be decoded.
    """

    def __init__(self, path: Path, encoding: str = "utf-8", progress: Progress | None = None) -> None:
        self.path, self.encoding = path, _codec(encoding)
        self.left_out, self.num_bytes, self._paths = 0, 0, list[Path]()
        digest, files = hashlib.sha256(), _files(path)
        sizes = [file.stat().st_size for file in files]
        done, total = 0, sum(sizes)
        for file, size in zip(files, sizes, strict=True):
            self._add(file, digest)
            done += size
            if progress is not None:
                progress("reading", done, max(total, 1))
        if not self._paths:
            what = "holds no text" if not self.left_out else f"holds no text in {encoding}: try --encoding"
            raise TextError(f"{path}: {what}")
        self.sha256 = digest.hexdigest()

    @property
    def num_files(self) -> int:
        """Files that hold text."""
        return len(self._paths)

    @property
    def description(self) -> str:
        """The name of the text in a card."""
        name, size = self.path.resolve().name, f"{self.num_bytes:,} bytes"
        if not self.path.is_dir():
            return f"`{name}` ({size})"
        left_out = f", {self.left_out} that are no text in {self.encoding} left out" if self.left_out else ""
        return f"{self.num_files} files of `{name}` ({size}{left_out})"

    @property
    def piece_bytes(self) -> int:
        """Largest size of a document."""
        return max(SMALLEST_PIECE, min(LARGEST_PIECE, self.num_bytes // PIECES_OF_A_TEXT))

    def documents(self) -> Iterator[Document]:
        """Yield all documents. Raises TextError if a file changed since it was first read."""
        for path in self._paths:
            name = path.relative_to(self.path).as_posix() if path != self.path else path.name
            try:
                for number, text in enumerate(pieces(self._read(path), self.piece_bytes)):
                    yield Document(f"{name}#{number}", text)
            except UnicodeDecodeError:
                raise TextError(f"{path}: changed while it was being read") from None

    def whole_files(self) -> Iterator[Iterator[str]]:
        """Yield the pieces of each file, to be read in order. Raises TextError as `documents` does."""
        for path in self._paths:
            yield pieces(self._read(path), LARGEST_PIECE)

    def _add(self, file: Path, digest: hashlib._Hash) -> None:
        blank, size, own = True, 0, hashlib.sha256()
        try:
            for text in self._read(file):
                data = text.encode()
                own.update(data)
                size += len(data)
                blank = blank and not text.strip()
                if "\0" in text:
                    raise UnicodeDecodeError(self.encoding, b"\0", size, size + 1, "a NUL byte is no text")
        except UnicodeDecodeError as error:
            if file == self.path:
                raise TextError(
                    f"{file}: is not {self.encoding} text ({error.reason}): try --encoding"
                ) from None
            self.left_out += 1
            return
        if not blank:
            self._paths.append(file)
            self.num_bytes += size
            digest.update(own.digest())

    def _read(self, file: Path) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        with file.open("rb") as stream:
            first = True
            while True:
                data = stream.read(READ_BYTES)
                text = decoder.decode(data, final=not data)
                if first:
                    text, first = text.removeprefix("\ufeff"), False
                if text:
                    yield text
                if not data:
                    return


def pieces(parts: Iterator[str], limit: int) -> Iterator[str]:
    """Cut a text, given in parts, into pieces of at most `limit` characters.

    A piece ends at the last line end in it, else at the last space, else at the limit.
    """
    rest = ""
    for part in parts:
        rest += part
        start = 0
        while len(rest) - start > limit:
            end = _cut(rest, start, start + limit)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest.strip():
        yield rest


def _cut(text: str, start: int, end: int) -> int:
    for mark in ("\n", " "):
        found = text.rfind(mark, start, end)
        if found > start:
            return found + 1
    return end


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise TextError(f"{path}: is no file and no folder")
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(
        file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _codec(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding)
    except LookupError:
        raise TextError(f"encoding {encoding!r} is unknown: use one of Python's, such as latin-1") from None
    if not found._is_text_encoding:
        raise TextError(f"encoding {encoding!r} is not one of text: use one such as utf-8 or latin-1")
    return found.name
