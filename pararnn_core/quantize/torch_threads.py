"""Many small torch operations on several threads, each with rows of its own.

Torch splits every operation between its threads and waits for all of them. If another program uses a core,
each of thousands of operations waits until that core is free. Here threads do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return function(part) for each part, computed on as many threads as torch has."""
    # The mode belongs to a thread, so new threads do not inherit no_grad.
    gradients = torch.is_grad_enabled()

    def in_the_callers_mode(part: Part) -> Result:
        with torch.set_grad_enabled(gradients):
            return function(part)

    with _one_thread_an_operation() as threads:
        if min(threads, len(parts)) < 2:
            return [function(part) for part in parts]
        with ThreadPoolExecutor(min(threads, len(parts))) as executor:
            return list(executor.map(in_the_callers_mode, parts))


@contextmanager
def _one_thread_an_operation() -> Iterator[int]:
    """Set torch's number of threads to 1, also for threads that start inside, and yield the number before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
