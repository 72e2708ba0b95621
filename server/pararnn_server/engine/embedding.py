"""The embedding of a prompt: the mean of its final rows, of length 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]


class EmbeddingSum:
    """The sum of a prompt's final rows. It takes the same memory whatever the prompt's length."""

    def __init__(self, width: int) -> None:
        self._sum = np.zeros(width)

    def add(self, rows: Float32s) -> None:
        """Add the next rows (K, d)."""
        # One after the other: a sum of each chunk first would have other last bits.
        for row in rows:
            self._sum += row

    def vector(self) -> Float32s | None:
        """Return the mean (d,), scaled to length 1; None if it is not finite, or has no direction."""
        length = math.sqrt(math.fsum(np.square(self._sum).tolist()))
        if not math.isfinite(length) or length == 0.0:
            return None
        return (self._sum / length).astype(np.float32)
