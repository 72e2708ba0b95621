"""Stop strings, matched byte by byte, so that the split of text into tokens never matters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Limit(NamedTuple):
    """Bytes of each stream before what a stop string is, or may become: text, and text with spellings."""

    text: int
    spelled: int


class StopMatcher:
    """Finds the stop string that ends first; of those that end at the same byte, it names the longest.

    Every stop string is looked for in the text, to which special tokens add nothing.
    One that contains a special token's whole spelling is also looked for in the text with spellings.

    shows_stop: the limit of a stop string is its end; else it is its start.
    """

    def __init__(
        self, stops: Sequence[str], spellings: Collection[str] = (), *, shows_stop: bool = False
    ) -> None:
        self._shows_stop = shows_stop
        self._in_text = [_Pattern(stop) for stop in stops]
        self._in_spelled = [_Pattern(stop) for stop in stops if any(name in stop for name in spellings)]
        self._both = [*self._in_text, *self._in_spelled]
        self._text_end = 0
        self._spelled_end = 0

    def push(
        self, data: bytes, *, is_special: bool = False, may_stop: bool = True
    ) -> tuple[Limit, str | None]:
        """Return the limit of what may be shown now, and the stop string that `data` completed.

        is_special: `data` is the spelling of a special token. A stop string ends the text.
        may_stop: false: a stop string that `data` completes is text like any other.
        """
        patterns = self._in_spelled if is_special else self._both
        for position, byte in enumerate(data, 1):
            found = [pattern for pattern in patterns if pattern.advance(byte)]
            if found and may_stop:
                self._count(position, is_special)
                return self._stopped(found), max(found, key=lambda pattern: pattern.size).text
            for pattern in found:
                pattern.fall_back()
        self._count(len(data), is_special)
        return self._before(self._in_text, self._in_spelled), None

    def _count(self, size: int, is_special: bool) -> None:
        self._spelled_end += size
        if not is_special:
            self._text_end += size

    def _stopped(self, found: Sequence[_Pattern]) -> Limit:
        if self._shows_stop:
            return Limit(self._text_end, self._spelled_end)
        return self._before(*_split(found, self._in_text))

    def _before(self, in_text: Sequence[_Pattern], in_spelled: Sequence[_Pattern]) -> Limit:
        return Limit(self._text_end - _longest(in_text), self._spelled_end - _longest(in_spelled))


def _longest(patterns: Sequence[_Pattern]) -> int:
    return max((pattern.matched for pattern in patterns), default=0)


def _split(found: Sequence[_Pattern], first: Sequence[_Pattern]) -> tuple[list[_Pattern], list[_Pattern]]:
    return [p for p in found if p in first], [p for p in found if p not in first]


class _Pattern:
    """One stop string (Knuth-Morris-Pratt); `matched`: bytes of its longest beginning that ends the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes = text.encode()
        self.size = len(self._bytes)
        self.matched = 0
        self._shorter = _borders(self._bytes)

    def advance(self, byte: int) -> bool:
        """Add a byte. Return True when the string is complete."""
        while self.matched and self._bytes[self.matched] != byte:
            self.matched = self._shorter[self.matched - 1]
        if self._bytes[self.matched] == byte:
            self.matched += 1
        # A complete match ends the text or falls back, so the index above stays in range.
        return self.matched == self.size

    def fall_back(self) -> None:
        """Continue after a complete match with the longest beginning that is also its end."""
        self.matched = self._shorter[-1]


def _borders(pattern: bytes) -> list[int]:
    """Return for each prefix the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(pattern)
    size = 0
    for end in range(1, len(pattern)):
        while size and pattern[size] != pattern[end]:
            size = borders[size - 1]
        if pattern[size] == pattern[end]:
            size += 1
        borders[end] = size
    return borders
