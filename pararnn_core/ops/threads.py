"""Threads and instruction set of the native library."""

import functools

from pararnn_core.ops.library import native


@functools.cache
def isa_level() -> str:
    """Level in use: "baseline", "avx2", "avx512", or "generic" where this is not x86-64.

    PARARNN_ISA forces one, read once. Raises RuntimeError if this machine does not have it.
    """
    return str(native().isa_level())


@functools.cache
def available_isa_levels() -> tuple[str, ...]:
    """Levels that this machine can run, slowest first."""
    return tuple(str(native().available_isa_levels()).split(","))


def num_threads() -> int:
    """Threads that a native call uses, the caller's included: fewer than set if the system has no more."""
    return int(native().num_threads())


def set_num_threads(count: int) -> None:
    """Results do not depend on the count. Raises RuntimeError unless count is 1 to 1024."""
    native().set_num_threads(count)
