"""Futures that another thread fills."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def run_into(future: Future[T], function: Callable[[], T]) -> None:
    """Give the future the result or the error of the function, which a cancelled future skips."""
    begin_into(future, _one_piece(function))


def begin_into(future: Future[T], pieces: Generator[None, None, T]) -> bool:
    """Run the first piece of a long job, unless the future was cancelled. Return True if more are left."""
    # From here on the future can no longer be cancelled, so that setting its result never raises.
    return future.set_running_or_notify_cancel() and advance_into(future, pieces)


def advance_into(future: Future[T], pieces: Generator[None, None, T]) -> bool:
    """Run one more piece. Return False once the future has its result or its error."""
    try:
        next(pieces)
    except StopIteration as end:
        future.set_result(end.value)
    # Every error: a reader of a future without a result would wait for ever.
    except BaseException as error:
        future.set_exception(error)
    else:
        return True
    return False


def _one_piece(function: Callable[[], T]) -> Generator[None, None, T]:
    return function()
    yield
