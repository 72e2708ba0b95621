"""The Jargon File, an entry a document, also as a question and its answer."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator
from pathlib import Path

from checkpoints.distil.text.documents import Document, exchange

ENTRY = re.compile(r"^ {0,3}(?=:[^:\n]{1,60}:)|^(?=[A-Z0-9a-z][^\n]{0,50}\n\n   \S)", re.MULTILINE)
QUESTIONS = (
    "What is {word} in hacker slang?",
    "What do hackers mean by {word}?",
    "Explain the jargon term {word}.",
    'What does "{word}" mean to a programmer?',
)
PAGE_CHARACTERS = 3000
CHAT_CHARACTERS = 1200


def jargon_documents(root: Path) -> Iterator[Document]:
    """root: of the package."""
    file = next(root.glob("usr/share/doc/jargon-text/jargon.txt.gz"))
    text = gzip.decompress(file.read_bytes()).decode("utf-8", errors="replace")
    page: list[str] = []
    number = 0
    for entry in ENTRY.split(text):
        page.append(entry.strip())
        if sum(map(len, page)) > PAGE_CHARACTERS:
            yield from _page(f"jargon/{number}", page)
            page, number = [], number + 1
    yield from _page(f"jargon/{number}", page)


def _page(key: str, entries: list[str]) -> Iterator[Document]:
    text = "\n\n".join(entries)
    if len(text) > 200:
        yield Document(key, text)
    draw = random.Random(key)
    for entry in entries:
        title, _, body = entry.partition("\n")
        words = title.strip(" :").split(":")[0].strip()
        answer = "\n\n".join(" ".join(p.split()) for p in body.split("\n\n") if p.strip())
        if 1 < len(words) < 40 and 80 < len(answer) < CHAT_CHARACTERS:
            yield exchange(key, draw.choice(QUESTIONS).format(word=words), answer)
