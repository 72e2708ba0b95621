"""A bound on the values of a JSON text, found before the text is parsed: each becomes an object in memory."""

from __future__ import annotations

import numpy as np

CONTAINER_WEIGHT = 16
"""A list or an object takes about as much memory as so many numbers."""
_CHUNK_BYTES = 1 << 20


def holds_more_values(raw: bytes, limit: int) -> bool:
    """Return True if a JSON text holds more values than the limit. A list or an object counts as 16.

    All of the text is counted first. What strings hold is left out only where that says too many.
    """
    containers = raw.count(b"[") + raw.count(b"{")
    # Most bodies are far below the limit, and counting bytes is cheap.
    if raw.count(b",") + CONTAINER_WEIGHT * containers <= limit:
        return False
    return _count_outside_strings(raw) > limit


def _count_outside_strings(raw: bytes) -> int:
    # Without escaped backslashes and quotes, every quote opens or closes a string.
    marks = np.frombuffer(raw.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    total, inside = 0, np.uint8(0)
    for start in range(0, len(marks), _CHUNK_BYTES):
        chunk = marks[start : start + _CHUNK_BYTES]
        # A loop in Python over a large body would take seconds on the one parsing thread.
        in_string = np.bitwise_xor.accumulate((chunk == ord('"')).view(np.uint8)) ^ inside
        # A string may reach from one chunk into the next.
        inside = in_string[-1]
        outside = chunk[in_string == 0]
        containers = np.count_nonzero((outside == ord("[")) | (outside == ord("{")))
        # Commas separate values, so counting them is counting values but for one per container.
        total += int(np.count_nonzero(outside == ord(",")) + CONTAINER_WEIGHT * containers)
    return total
