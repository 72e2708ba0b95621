"""Memory of this process, as the system counts it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_memory_bytes() -> int | None:
    """Return the bytes that are resident now; None where the system does not tell."""
    if not _STATM.exists():
        return None
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def release_free_memory() -> None:
    """Give what the C allocator keeps for later back to the system, where that is possible.

    Loading leaves pages of tensors and text that nothing will ask for again.
    """
    # glibc has it, other C libraries do not.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
