"""Cuts of a long text at which its parts have the ids of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

PIECE_CHARS = 1 << 14
# A word of more characters than this is encoded in parts.
WORD_CHARS = 1 << 16
# After a single line feed between two visible characters a byte-level pre-tokenizer always splits.
_LINE = re.compile(r"(?<=\S\n)(?=\S)")
# A single space before a visible character begins the next word.
_WORD = re.compile(r"(?<=\S)(?= \S)")


def pieces(
    text: str, size: int = PIECE_CHARS, word: int = WORD_CHARS, *, words: bool = True
) -> Iterator[str]:
    """Yield the text in pieces of at least `size` characters, and of at most size + word.

    words: whether a piece may end between two words of a line.
    """
    start = 0
    while len(text) - start > size:
        end = _cut(text, start + size, start + size + word, words)
        if end is None:
            break
        yield text[start:end]
        start = end
    yield text[start:]


def _cut(text: str, low: int, high: int, words: bool) -> int | None:
    """Return the end of a line, else of a word, else the last place allowed. None: the rest is one piece."""
    for seam in (_LINE, _WORD) if words else (_LINE,):
        # The lookahead needs the two characters that follow.
        if found := seam.search(text, low, high + 2):
            return min(found.start(), high)
    return high if high < len(text) else None
