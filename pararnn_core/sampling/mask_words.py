"""Masks of a vocabulary: which ids a draw may give.

A mask of V ids is (ceil(V / 32),) int32 in NumPy. Bit id % 32 of word id // 32 is set for every id that may
be drawn; bits from V on are ignored. Libraries of grammars write these words. A warp of a GPU reads one word
for its 32 ids, and a CPU makes whole vectors of one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MaskWords = NDArray[np.int32]

WORD_BITS = 32


def num_words(vocab_size: int) -> int:
    """Return the size of a mask."""
    return -(-vocab_size // WORD_BITS)


def mask_of(token_ids: Iterable[int], vocab_size: int) -> MaskWords:
    """Return the mask that allows these ids and no others. IndexError for an id outside of the vocabulary."""
    flags = np.zeros(vocab_size, np.uint8)
    flags[np.fromiter(token_ids, np.uint32)] = 1
    packed = np.packbits(flags, bitorder="little")
    words = np.zeros(num_words(vocab_size) * 4, np.uint8)
    words[: len(packed)] = packed
    return words.view("<i4").astype(np.int32)


def flags_of(words: MaskWords, vocab_size: int) -> NDArray[np.bool_]:
    """Return (V,) bool, True where the id may be drawn."""
    little = words.astype("<i4").view(np.uint8)
    return np.unpackbits(little, count=vocab_size, bitorder="little").astype(np.bool_)


def check_mask(words: MaskWords, vocab_size: int) -> None:
    """Raise ValueError unless it is a mask of that many ids."""
    size = num_words(vocab_size)
    if not isinstance(words, np.ndarray) or words.dtype != np.int32 or words.shape != (size,):
        found = f"{words.dtype} {words.shape}" if isinstance(words, np.ndarray) else type(words).__name__
        raise ValueError(f"a mask of {vocab_size} ids must be an int32 array of shape ({size},), got {found}")


def allows_nothing(words: MaskWords, vocab_size: int) -> bool:
    """Return True if it forbids every id of the vocabulary."""
    if words[:-1].any():
        return False
    bits_in_last = vocab_size - (len(words) - 1) * WORD_BITS
    # A grammar's library may set bits beyond the vocabulary; they allow nothing.
    return not int(words[-1]) & (1 << bits_in_last) - 1
