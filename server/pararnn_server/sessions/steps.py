"""Long work on the store's thread, in pieces between which it answers other questions."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Each `yield` ends a piece that touches a bounded number of bytes; what it returns is the result.

Between two pieces anybody else may read and write: only a claimed session stays as it is.
"""


def finish(steps: Steps[T]) -> T:
    """Do all pieces at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
