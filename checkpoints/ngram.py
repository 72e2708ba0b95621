"""Interpolated n-grams of bytes or tokens with modified Kneser-Ney smoothing, a baseline in NumPy.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998).
An n-gram is one integer, its symbols the digits in base `num_symbols`, the newest the lowest digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Keys = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """One order of n-grams: keys with counts; contexts with totals and the mass left for lower orders."""

    keys: Keys
    counts: Counts
    discounts: Probabilities
    contexts: Keys
    totals: Counts
    backoff: Probabilities


class NGram:
    """An n-gram model. order: symbols per n-gram, the predicted one included.

    The boundary symbol fills the context before a document.
    Raises ValueError if the n-grams do not fit into 63 bits.
    """

    def __init__(self, documents: Sequence[Keys], order: int, num_symbols: int, boundary: int) -> None:
        if num_symbols**order >= 2**63:
            raise ValueError(f"{order}-grams of {num_symbols} symbols exceed 63 bits: lower the order")
        self.order, self.num_symbols, self.boundary = order, num_symbols, boundary
        self.levels = self._levels(documents)

    def probabilities(self, document: Keys) -> Probabilities:
        """Return the probability of each symbol of the document given those before it."""
        return self.conditional(self._contexts(document), document)

    def conditional(self, contexts: Keys, symbols: Keys) -> Probabilities:
        """Return the probabilities of symbols. contexts: the order - 1 symbols before, one integer each."""
        probability = np.full(len(symbols), 1.0 / self.num_symbols)
        for n, level in enumerate(self.levels, start=1):
            context = contexts % self.num_symbols ** (n - 1)
            probability = _interpolate(level, context, context * self.num_symbols + symbols, probability)
        return probability

    def _contexts(self, document: Keys) -> Keys:
        padded = np.concatenate([np.full(self.order - 1, self.boundary), document])
        contexts = np.zeros(len(document), np.int64)
        for i in range(self.order - 1):
            contexts = contexts * self.num_symbols + padded[i : i + len(document)]
        return contexts

    def _levels(self, documents: Sequence[Keys]) -> list[Level]:
        grams = np.concatenate([self._contexts(d) * self.num_symbols + d for d in documents])
        keys, counts = np.unique(grams, return_counts=True)
        levels = [build_level(keys, counts, self.num_symbols)]
        for n in range(self.order - 1, 0, -1):
            keys, counts = np.unique(keys % self.num_symbols**n, return_counts=True)
            levels.append(build_level(keys, counts, self.num_symbols))
        return levels[::-1]


def build_level(keys: Keys, counts: Counts, num_symbols: int) -> Level:
    """Build a level of sorted keys. counts: occurrences at the highest order, else distinct predecessors."""
    discounts = modified_discounts(counts)
    contexts, first = np.unique(keys // num_symbols, return_index=True)
    totals = np.add.reduceat(counts, first)
    left_over = np.add.reduceat(discounts[np.minimum(counts, 3)], first)
    return Level(keys, counts, discounts, contexts, totals, left_over / totals)


def modified_discounts(counts: Counts) -> Probabilities:
    """Return the discounts (4,) of n-grams that occur 0, 1, 2, and 3 or more times."""
    n1, n2, n3, n4 = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    discounts = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    clipped: Probabilities = np.clip(discounts, [0.0, 0.1, 0.1, 0.1], [0.0, 0.9, 1.9, 2.9])
    return clipped


def bits(probabilities: Probabilities) -> float:
    """Return the sum of the information in bits."""
    return float(-np.log2(probabilities).sum())


def _interpolate(level: Level, contexts: Keys, keys: Keys, lower: Probabilities) -> Probabilities:
    context, known = _find(level.contexts, contexts)
    key, seen = _find(level.keys, keys)
    count = np.where(seen, level.counts[key], 0)
    kept = (count - level.discounts[np.minimum(count, 3)]) / level.totals[context]
    return np.where(known, kept + level.backoff[context] * lower, lower)


def _find(table: Keys, wanted: Keys) -> tuple[Keys, NDArray[np.bool_]]:
    index = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return index, table[index] == wanted
