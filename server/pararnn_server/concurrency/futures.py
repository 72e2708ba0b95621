"""Futures that another thread fills."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def run_into(future: Future[T], function: Callable[[], T]) -> None:
    """Call the function and give the future its result or its error.

    A future that was cancelled before this skips the function. After this it can no longer be cancelled.
    """
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
