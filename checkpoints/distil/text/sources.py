"""All training text, by source, with the share of chat and prose that each may have."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from checkpoints.distil.text.chats.written import written_documents
from checkpoints.distil.text.debian import unpacked_packages
from checkpoints.distil.text.documents import Document
from checkpoints.distil.text.jargon import jargon_documents
from checkpoints.distil.text.manuals import postgres_documents, python_documents
from checkpoints.distil.text.novels import novel_documents
from checkpoints.distil.text.teacher_replies import replies_file, reply_documents
from checkpoints.distil.text.wordnet import wordnet_documents

PACKAGE_TEXTS: dict[str, Callable[[Path], Iterator[Document]]] = {
    "wordnet-base": wordnet_documents,
    "jargon-text": jargon_documents,
    "r-cran-janeaustenr": novel_documents,
    "postgresql-doc-15": postgres_documents,
    "python3.11-doc": python_documents,
}
# Characters. WordNet's chats are all of one kind, and Python's manual is longer than all others.
MOST_CHAT = 7_000_000
MOST_PROSE = 9_000_000
WRITTEN_CHATS = 14_000


def all_documents(folder: Path) -> Iterator[Document]:
    """Documents of every source, each source's in a drawn order and up to its share."""
    yield from written_documents(WRITTEN_CHATS)
    yield from reply_documents(replies_file(folder))
    roots = unpacked_packages(folder)
    for name, documents in PACKAGE_TEXTS.items():
        yield from limited(documents(roots[name]), name)


def limited(documents: Iterable[Document], seed: str) -> Iterator[Document]:
    """Shuffled; of chat and of prose each the first ones within their share. Held-out ones all pass."""
    shuffled = list(documents)
    random.Random(seed).shuffle(shuffled)
    left = {True: MOST_CHAT, False: MOST_PROSE}
    for document in shuffled:
        if not document.is_held_out:
            left[document.is_chat] -= len(document.text)
            if left[document.is_chat] < 0:
                continue
        yield document
