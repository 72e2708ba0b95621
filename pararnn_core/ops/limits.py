"""What the machine can do at most: the measures that speeds are held against."""

from torch import Tensor

from pararnn_core.ops.choices import number
from pararnn_core.ops.library import native

UNITS = {"float32": 0, "int8": 1}


def read_bytes(data: Tensor, passes: int) -> int:
    """Reads data: (n,) uint8 with all threads, `passes` times; returns the sum of all 32-bit words read.

    Every thread reads its own part, as fast as it can. Bytes that fill no line of each of a thread's four
    streams are left out, so let n be a multiple of 256 times the threads.
    """
    seen: int = native().read_bytes(data, passes)
    return seen


def multiply_add(unit: str, rounds: int) -> int:
    """Multiply-adds in registers, with all threads; returns how many. Proportional to rounds.

    unit: "float32", or "int8" for products of bytes that are added up as 32-bit integers.
    """
    done: int = native().multiply_add(number("unit", unit, UNITS), rounds)
    return done
