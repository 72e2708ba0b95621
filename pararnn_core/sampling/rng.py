"""Random numbers as a pure function of (seed, choice, output index).

Philox 4x32 with ten rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
A generator without state cannot depend on the batch, on other requests or on a restart.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# A float64 holds 53 bits exactly.
UNIFORM_BITS = 53

Words = tuple[int, int, int, int]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """counter: four, key: two words of 32 bits -> four words of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        even, odd = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (odd >> 32) ^ c1 ^ k0, odd & _MASK, (even >> 32) ^ c3 ^ k1, even & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def check_counters(choice: int, output_index: int) -> None:
    """ValueError unless choice has 32 bits and output_index 64, both without sign."""
    if not 0 <= choice <= _MASK or not 0 <= output_index < 2**64:
        raise ValueError(f"choice {choice} or output_index {output_index} is out of range")


def uniform_bits(seed: int, choice: int, output_index: int) -> int:
    """53 random bits.

    key = the seed's low and high word (two's complement, 64 bits); counter = (index's low and high word,
    choice, 0). The result's first two words, low word first, give 64 bits of which the upper 53 count.
    Raises ValueError for a negative or too large choice or output_index.
    """
    check_counters(choice, output_index)
    counter = (output_index & _MASK, output_index >> 32, choice, 0)
    low, high, _, _ = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    return (high << 32 | low) >> (64 - UNIFORM_BITS)


def uniform(seed: int, choice: int, output_index: int) -> float:
    """The same bits as a multiple of 2**-53 in [0, 1)."""
    return float(uniform_bits(seed, choice, output_index)) * 2.0**-UNIFORM_BITS
