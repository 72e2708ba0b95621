"""Jane Austen's novels, out of an R package's data, a chapter a document."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from checkpoints.distil.text.documents import Document, exchange

CHAPTER = re.compile(r"^(?=CHAPTER [IVXLC\d]+|Chapter \d+|VOLUME )", re.MULTILINE)
STRING_VECTOR = 16
STRING = 9
CHAT_WORDS = (30, 220)
REQUESTS = (
    "Continue this text:\n\n{text}",
    "How does the story go on?\n\n{text}",
    "Here is the beginning of a scene. Write what comes next.\n\n{text}",
    "{text}\n\nPlease continue.",
)


def novel_documents(root: Path) -> Iterator[Document]:
    """root: of the package."""
    data = next(root.glob("usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")).read_bytes()
    for number, lines in enumerate(read_string_vectors(data)):
        for place, chapter in enumerate(CHAPTER.split("\n".join(lines))):
            key = f"austen/{number}/{place}"
            paragraphs = [" ".join(p.split()) for p in chapter.split("\n\n") if p.strip()]
            if sum(map(len, paragraphs)) < 500:
                continue
            yield Document(key, "\n\n".join(paragraphs))
            yield from _chats(key, paragraphs)


def read_string_vectors(data: bytes) -> Iterator[list[str]]:
    """data: a lazy-load database of R, whose records are (length, zlib stream), big-endian."""
    while data:
        stream = zlib.decompressobj()
        record = stream.decompress(data[4:])
        data = stream.unused_data
        yield _strings(record)


def _strings(record: bytes) -> list[str]:
    """A serialised character vector: a header, then flags and length of each string."""
    place = 2 + 3 * 4
    place += 4 + _integer(record, place)
    if _integer(record, place) & 0xFF != STRING_VECTOR:
        raise ValueError(f"expected a character vector, got type {_integer(record, place) & 0xFF}")
    count, place = _integer(record, place + 4), place + 8
    strings = []
    for _ in range(count):
        if _integer(record, place) & 0xFF != STRING:
            raise ValueError(f"expected a string, got type {_integer(record, place) & 0xFF}")
        length, place = _integer(record, place + 4), place + 8
        strings.append(record[place : place + length].decode("utf-8", errors="replace"))
        place += length
    return strings


def _integer(record: bytes, place: int) -> int:
    return int.from_bytes(record[place : place + 4], "big")


def _chats(key: str, paragraphs: list[str]) -> Iterator[Document]:
    draw = random.Random(key)
    least, most = CHAT_WORDS
    for first, second in zip(paragraphs[::4], paragraphs[1::4], strict=False):
        if all(least <= len(p.split()) <= most for p in (first, second)):
            yield exchange(key, draw.choice(REQUESTS).format(text=first), second)
