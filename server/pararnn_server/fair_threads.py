"""Threads on which the keys take turns, so that none waits for all that another has sent."""

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

    A free thread goes to the key with the fewest running functions; of several such keys, to the one that has
    waited the longest. The oldest function of that key runs.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, name)
        self._num_free = num_threads
        self._running: Counter[str] = Counter()
        # In the order of their last turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the function.

        A caller that is cancelled while it waits leaves no trace. Once begun, the function runs to its end.
        """
        key, loop = current_key.get(), asyncio.get_running_loop()
        await self._turn(key)

        def give_back(_: Future[T]) -> None:
            try:
                loop.call_soon_threadsafe(self._give_back, key)
            except RuntimeError:  # the loop is closed, so nobody waits
                self._give_back(key)

        job = self._threads.submit(function, *args, **kwargs)
        job.add_done_callback(give_back)
        return await asyncio.wrap_future(job)

    async def _turn(self, key: str) -> None:
        """Wait for a thread, which is then counted as the key's."""
        if self._num_free:
            self._take(key)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(key, turn)
            else:
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
        if self._waiting:
            chosen = min(self._waiting, key=self._running.__getitem__)
            turns = self._waiting.pop(chosen)
            turn = turns.popleft()
            if turns:
                self._waiting[chosen] = turns
            self._take(chosen)
            turn.set_result(None)

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting[key]
        turns.remove(turn)
        if not turns:
            del self._waiting[key]
