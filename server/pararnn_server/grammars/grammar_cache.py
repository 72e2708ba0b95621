"""Compiled grammars that a later request may use again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from llguidance import LLMatcher

# Measured: a compiled grammar takes 100 KB and about a hundred times the bytes of its text.
BYTES_PER_GRAMMAR = 128 << 10
BYTES_PER_BYTE = 128
# Following a grammar adds to its lexer, up to 30 MB, and llguidance does not say how much. The time that it
# takes bounds it: of hostile forms the fastest added 0.2 MB per millisecond.
BYTES_PER_SECOND = 200 << 20


@dataclass(slots=True)
class _Entry:
    matcher: LLMatcher
    nbytes: int


@dataclass(frozen=True, slots=True)
class CachedGrammar:
    """A compiled grammar, to tell its cache what becomes of it. From any thread."""

    cache: GrammarCache
    key: str
    source: str
    matcher: LLMatcher

    def grow(self, seconds: float) -> None:
        """Count what it has taken on while it was followed for so long."""
        self.cache.grow(self, seconds)

    def drop(self) -> None:
        """Remove it from the cache."""
        self.cache.drop(self)


class GrammarCache:
    """The last grammars of each key, within a number of bytes for each. For any thread.

    A key's grammars are its own: another key cannot notice which of them are there.
    """

    def __init__(self, bytes_per_key: int) -> None:
        self._bytes_per_key = bytes_per_key
        self._entries: dict[str, OrderedDict[str, _Entry]] = {}
        self._bytes: dict[str, int] = {}
        # Held only to look something up: to free a grammar may take milliseconds, and is done without it.
        self._lock = Lock()

    def get(self, key: str, source: str) -> CachedGrammar | None:
        """Return the grammar with its matcher at the start, if it is there."""
        with self._lock:
            entries = self._entries.get(key)
            if entries is None or source not in entries:
                return None
            entries.move_to_end(source)
            return CachedGrammar(self, key, source, entries[source].matcher)

    def put(self, key: str, source: str, matcher: LLMatcher) -> CachedGrammar:
        """Keep a grammar in place of those that were used the longest time ago."""
        size = nbytes(source)
        if size <= self._bytes_per_key:
            with self._lock:
                gone = self._take(key, source)
                self._entries.setdefault(key, OrderedDict())[source] = _Entry(matcher, size)
                self._bytes[key] = self._bytes.get(key, 0) + size
                gone += self._shrink(key)
            del gone
        return CachedGrammar(self, key, source, matcher)

    def grow(self, grammar: CachedGrammar, seconds: float) -> None:
        """Count what a grammar has taken on while it was followed for so long.

        One that outgrows the budget goes, and is compiled again when it is asked for.
        """
        with self._lock:
            entry = self._entry(grammar)
            if entry is None:
                return
            more = int(seconds * BYTES_PER_SECOND)
            entry.nbytes += more
            self._bytes[grammar.key] += more
            gone = self._shrink(grammar.key)
        del gone

    def drop(self, grammar: CachedGrammar) -> None:
        """Remove a grammar, if it is there."""
        with self._lock:
            gone = [] if self._entry(grammar) is None else self._take(grammar.key, grammar.source)
        del gone

    def nbytes(self, key: str) -> int:
        """Return about the memory of a key's grammars."""
        with self._lock:
            return self._bytes.get(key, 0)

    def _entry(self, grammar: CachedGrammar) -> _Entry | None:
        entries = self._entries.get(grammar.key)
        entry = None if entries is None else entries.get(grammar.source)
        # A later compilation of the same text has not grown with this one.
        return entry if entry is not None and entry.matcher is grammar.matcher else None

    def _take(self, key: str, source: str) -> list[LLMatcher]:
        entries = self._entries.get(key)
        entry = None if entries is None else entries.pop(source, None)
        if entry is None:
            return []
        self._bytes[key] -= entry.nbytes
        return [entry.matcher]

    def _shrink(self, key: str) -> list[LLMatcher]:
        gone: list[LLMatcher] = []
        while self._bytes[key] > self._bytes_per_key:
            gone += self._take(key, next(iter(self._entries[key])))
        return gone


def nbytes(source: str) -> int:
    """Return about the memory of a compiled grammar that nothing has followed yet."""
    return BYTES_PER_GRAMMAR + BYTES_PER_BYTE * len(source)
