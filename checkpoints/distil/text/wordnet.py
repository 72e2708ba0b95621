"""WordNet's glosses, as dictionary pages and as chats about a word."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkpoints.distil.text.documents import Document, exchange

PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
SYNSETS_PER_PAGE = 12
QUESTIONS = (
    'What does "{word}" mean?',
    "What does the word {word} mean?",
    "Define {word}.",
    "What is the meaning of {word}?",
    'Explain the word "{word}".',
    "Can you explain what {word} means?",
    "Please give me a definition of {word}.",
    "What is meant by {word}?",
    "I don't know the word {word}. What is it?",
)


@dataclass(frozen=True)
class Synset:
    """A meaning, the words that have it, and sentences that use them."""

    part: str
    words: tuple[str, ...]
    meaning: str
    examples: tuple[str, ...]


def wordnet_documents(root: Path) -> Iterator[Document]:
    """root: of the package. Chats share their page's key: a gloss is on one side of the split."""
    for file_part, part in PARTS.items():
        synsets = read_synsets(root / "usr/share/wordnet" / f"data.{file_part}", part)
        for start in range(0, len(synsets), SYNSETS_PER_PAGE):
            page, key = synsets[start : start + SYNSETS_PER_PAGE], f"wordnet/{part}/{start}"
            yield Document(key, "\n\n".join(dictionary_entry(synset) for synset in page))
            draw = random.Random(key)
            for synset in page:
                yield _chat(key, synset, draw)


def read_synsets(file: Path, part: str) -> list[Synset]:
    """The lines that begin with two spaces are the licence."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [_synset(line, part) for line in lines if not line.startswith("  ")]


def _synset(line: str, part: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(count))
    meanings: list[str] = []
    examples: list[str] = []
    for piece in gloss.strip().split("; "):
        quoted = piece.startswith('"') and piece.endswith('"')
        (examples if quoted else meanings).append(piece.strip('"') if quoted else piece)
    return Synset(part, words, "; ".join(meanings), tuple(examples))


def dictionary_entry(synset: Synset) -> str:
    """As a dictionary prints it."""
    text = f"{', '.join(synset.words)} ({synset.part}): {synset.meaning}."
    return text + "".join(f' "{example}"' for example in synset.examples)


def _chat(key: str, synset: Synset, draw: random.Random) -> Document:
    word = draw.choice(synset.words)
    question = draw.choice(QUESTIONS).format(word=word)
    meaning = synset.meaning
    answer = draw.choice(
        (
            f"{word[:1].upper()}{word[1:]} ({synset.part}) means: {meaning}.",
            f'"{word}" means {meaning}.',
            f'The {synset.part} "{word}" means {meaning}.',
            f"{meaning[:1].upper()}{meaning[1:]}.",
        )
    )
    others = [other for other in synset.words if other != word]
    if others and draw.random() < 0.5:
        answer += f" Words with the same meaning are {', '.join(others)}."
    if synset.examples:
        answer += f' For example: "{synset.examples[0]}".'
    return exchange(key, question, answer)
