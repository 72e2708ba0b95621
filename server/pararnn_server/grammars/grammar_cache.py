"""Compiled grammars that a later request may use again."""

from __future__ import annotations

from collections import OrderedDict

from llguidance import LLMatcher

# Measured: a compiled grammar takes 100 KB and about a hundred times the bytes of its text.
BYTES_PER_GRAMMAR = 128 << 10
BYTES_PER_BYTE = 128


class GrammarCache:
    """The last grammars of each key, within a number of bytes for each. One thread at a time.

    A key's grammars are its own: another key cannot notice which of them are there.
    """

    def __init__(self, bytes_per_key: int) -> None:
        self._bytes_per_key = bytes_per_key
        self._matchers: dict[str, OrderedDict[str, LLMatcher]] = {}
        self._bytes: dict[str, int] = {}

    def get(self, key: str, source: str) -> LLMatcher | None:
        """Return the matcher of a grammar at its start, if it is there."""
        matchers = self._matchers.get(key)
        if matchers is None or source not in matchers:
            return None
        matchers.move_to_end(source)
        return matchers[source]

    def put(self, key: str, source: str, matcher: LLMatcher) -> None:
        """Keep a grammar in place of those that were used the longest time ago."""
        if nbytes(source) > self._bytes_per_key:
            return
        matchers = self._matchers.setdefault(key, OrderedDict())
        if source not in matchers:
            self._bytes[key] = self._bytes.get(key, 0) + nbytes(source)
        matchers[source] = matcher
        while self._bytes[key] > self._bytes_per_key:
            oldest, _ = matchers.popitem(last=False)
            self._bytes[key] -= nbytes(oldest)

    def drop(self, key: str, source: str) -> None:
        """Remove a grammar, if it is there."""
        matchers = self._matchers.get(key)
        if matchers is not None and matchers.pop(source, None) is not None:
            self._bytes[key] -= nbytes(source)


def nbytes(source: str) -> int:
    """Return about the memory of a compiled grammar."""
    return BYTES_PER_GRAMMAR + BYTES_PER_BYTE * len(source)
