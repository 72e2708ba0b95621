"""The choice of documents that are held out: a function of their names alone."""

from __future__ import annotations

import hashlib

HELD_OUT_SHARE = 0.05
# Reading more would take minutes after the training of a small model.
MOST_HELD_OUT_BYTES = 2 << 20
_RANGE = 1 << 64


def held_out_share(num_bytes: int) -> float:
    """Return the share of documents to hold out of a text of this size."""
    return min(HELD_OUT_SHARE, MOST_HELD_OUT_BYTES / max(num_bytes, 1))


def rank(name: str) -> float:
    """Return a number in [0, 1) for a name, from SHA-256. Ranks below the share are held out."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big") / _RANGE
