"""Stop strings, matched byte by byte so that the way text falls into tokens never matters."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Finds the stop string that ends first; of those that end at the same byte, the longest."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._patterns = [_Pattern(stop) for stop in stops]
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes held back: the longest end of the text that begins a stop string."""
        return len(self._held)

    def push(self, data: bytes) -> tuple[bytes, str | None]:
        """Bytes that may be shown now, and the stop string that `data` completed; that ends the text."""
        if not self._patterns:
            return data, None
        self._held += data
        for position, byte in enumerate(data):
            found = self._advance(byte)
            if found is not None:
                return self._take(len(self._held) - len(data) + position + 1 - found.size), found.text
        return self._take(len(self._held) - max(pattern.matched for pattern in self._patterns)), None

    def flush(self) -> bytes:
        """What is still held back, at the end of a text in which no stop string was found."""
        return self._take(len(self._held))

    def _advance(self, byte: int) -> _Pattern | None:
        found = [pattern for pattern in self._patterns if pattern.advance(byte)]
        return max(found, key=lambda pattern: pattern.size, default=None)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


class _Pattern:
    """One stop string (Knuth-Morris-Pratt); `matched`: bytes of its longest beginning that ends the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes = text.encode()
        self.size = len(self._bytes)
        self.matched = 0
        self._shorter = _borders(self._bytes)

    def advance(self, byte: int) -> bool:
        """True when the string is complete."""
        while self.matched and self._bytes[self.matched] != byte:
            self.matched = self._shorter[self.matched - 1]
        if self._bytes[self.matched] == byte:
            self.matched += 1
        return self.matched == self.size


def _borders(pattern: bytes) -> list[int]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * len(pattern)
    size = 0
    for end in range(1, len(pattern)):
        while size and pattern[size] != pattern[end]:
            size = borders[size - 1]
        if pattern[size] == pattern[end]:
            size += 1
        borders[end] = size
    return borders
