"""Many small torch operations on several threads: each thread has rows of its own, none waits for another.

Torch splits every operation between its threads and waits for all of them. Where another program has a core,
each of thousands of operations waits until the system gives that core back.
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
    """Return function(part) of each part, on as many threads as torch has; each has whole parts."""
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
    """Torch's number of threads, which is 1 within: a thread that begins there has it too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
