"""The C library's memory for large blocks in training."""

from __future__ import annotations

import ctypes

# Names of <malloc.h> in glibc.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed blocks in the process, where the C library can.

    glibc would return large ones to the system after every step, which then clears them for the next.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _MOST)
        mallopt(_MMAP_MAX, 0)
