"""Words and tables that chats are made of, read from text files."""

from __future__ import annotations

from pathlib import Path


def read_words(file: Path) -> dict[str, tuple[str, ...]]:
    """A list begins with its name and a colon and goes on in lines that are indented."""
    lists: dict[str, tuple[str, ...]] = {}
    for block in file.read_text(encoding="utf-8").replace("\n  ", " ").splitlines():
        name, _, words = block.partition(": ")
        lists[name] = tuple(words.split(", "))
    return lists


def read_tables(file: Path) -> dict[str, list[tuple[str, ...]]]:
    """A table begins with its name in brackets; columns are apart by a bar."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    rows: list[tuple[str, ...]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            rows = tables[line[1 : line.index("]")]] = []
        else:
            rows.append(tuple(line.split(" | ")))
    return tables


def with_article(word: str) -> str:
    """a or an before the word."""
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def sentence(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]


_LISTS = read_words(Path(__file__).parent / "words.txt")
NAMES = _LISTS["names"]
ANIMALS = _LISTS["animals"]
QUALITIES = _LISTS["qualities"]
THINGS = _LISTS["things"]
PLACES = _LISTS["places"]
FOODS = _LISTS["foods"]
TOPICS = _LISTS["topics"]
JOBS = _LISTS["jobs"]
COLOURS = _LISTS["colours"]
