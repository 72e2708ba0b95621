"""Threads and instruction set of the native library."""

import functools

from pararnn_core.ops.library import native


@functools.cache
def isa_level() -> str:
    """Return the level in use: "baseline", "avx2", "avx512", or "generic" if this is not x86-64.

    The variable PARARNN_ISA, read once, selects a level. Raises RuntimeError if this machine lacks it.
    """
    return str(native().isa_level())


@functools.cache
def available_isa_levels() -> tuple[str, ...]:
    """Return the levels that this machine can run, slowest first."""
    return tuple(str(native().available_isa_levels()).split(","))


def num_threads() -> int:
    """Return the threads of a native call, the caller's included. The system may allow fewer than set."""
    return int(native().num_threads())


def set_num_threads(count: int) -> None:
    """Set the number of threads, on which results do not depend. Raises RuntimeError unless 1 to 1024."""
    native().set_num_threads(count)
