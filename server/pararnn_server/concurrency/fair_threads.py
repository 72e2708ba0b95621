"""Threads on which keys take turns, so that none waits for all the work that another has sent."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

current_key: ContextVar[str] = ContextVar("current_key", default="")
"""The key whose request the running task answers."""


class FairThreads:
    """Runs functions on num_threads threads, for one event loop at a time.

    A free thread goes to the key with the fewest running functions, and of several such keys to the one whose
    last turn ended first. The oldest function of that key runs.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, name)
        self._num_free = num_threads
        self._running: Counter[str] = Counter()
        # In the order in which their last turns ended.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the function.

        If the caller is cancelled while it waits, the function is not called. Once begun, it runs to its end.
        """
        key, loop = current_key.get(), asyncio.get_running_loop()
        await self._turn(key)

        def give_back(_: Future[T]) -> None:
            try:
                # This runs on the job's thread; the counts belong to the event loop.
                loop.call_soon_threadsafe(self._give_back, key)
            except RuntimeError:  # the loop is closed, so nobody waits
                self._give_back(key)

        job = self._threads.submit(function, *args, **kwargs)
        job.add_done_callback(give_back)
        return await asyncio.wrap_future(job)

    async def _turn(self, key: str) -> None:
        """Wait for a thread, which is then counted as the key's."""
        # Nobody is passed: who waits is called as soon as a thread is free.
        if self._num_free:
            self._take(key)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled after its turn had come.
            if not turn.cancelled():
                self._give_back(key)
            raise

    def _take(self, key: str) -> None:
        self._num_free -= 1
        self._running[key] += 1

    def _give_back(self, key: str) -> None:
        self._num_free += 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        if key in self._waiting:
            # To the end of the dictionary: of equal keys `min` takes the first.
            self._waiting[key] = self._waiting.pop(key)
        while self._waiting and self._num_free:
            self._call_next()

    def _call_next(self) -> None:
        key = min(self._waiting, key=self._running.__getitem__)
        turns = self._waiting[key]
        turn = turns.popleft()
        if not turns:
            del self._waiting[key]
        # A caller that was cancelled stays in line until here.
        if not turn.done():
            self._take(key)
            turn.set_result(None)
