"""Measurements of the machine's limits, with which speeds are compared."""

from torch import Tensor

from pararnn_core.ops.choices import number
from pararnn_core.ops.library import native

UNITS = {"float32": 0, "int8": 1}


def read_bytes(data: Tensor, passes: int) -> int:
    """Read data (n,) uint8 with all threads, `passes` times; return the sum of all 32-bit words read.

    Each thread reads a part of its own in four streams. Bytes that do not fill a cache line of each stream
    are left out, so make n a multiple of 256 times the number of threads.
    """
    seen: int = native().read_bytes(data, passes)
    return seen


def multiply_add(unit: str, rounds: int) -> int:
    """Run multiply-adds in registers with all threads; return their number, which is proportional to rounds.

    unit: "float32", or "int8" for products of bytes that are summed as 32-bit integers
    """
    done: int = native().multiply_add(number("unit", unit, UNITS), rounds)
    return done
