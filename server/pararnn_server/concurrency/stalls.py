"""A watch over the threads that all requests share, from a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pararnn_server.errors import Unavailable

BEAT_SECONDS = 0.25

logger = logging.getLogger(__name__)


class Heartbeat:
    """A thread's sign of life: the thread calls `beat` as often as it moves. Any thread may read the rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_at: float | None = None
        self.thread_id: int | None = None

    def beat(self) -> None:
        """Note that the calling thread moves."""
        self.thread_id = threading.get_ident()
        self._moved_at = self._clock()

    def stop(self) -> None:
        """Expect nothing more of the thread."""
        self._moved_at = None

    @property
    def still_seconds(self) -> float:
        """Seconds since the thread last moved; 0 before its first beat."""
        # Read once: the other thread may clear it in between.
        moved_at = self._moved_at
        return 0.0 if moved_at is None else max(0.0, self._clock() - moved_at)


@dataclass(slots=True)
class _Stall:
    seconds: float = 0.0
    seen_at: float | None = None
    is_on: bool = False


class StallWatch:
    """Detects threads that do not move, or did not a moment ago.

    limit: seconds without a beat. threads: heartbeats by the name of their thread.
    """

    # The event loop cannot answer during its stall, so stalls are remembered: the first answers after one are
    # refusals too. Each is logged once, with the place where the thread is.

    def __init__(
        self,
        limit: float,
        threads: Mapping[str, Heartbeat],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._threads = threads
        self._clock = clock
        self._stalls = {name: _Stall() for name in threads}
        # Two threads look: the one that watches, and the event loop for /ready.
        self._lock = threading.Lock()
        self._ends = threading.Event()

    @property
    def still_seconds(self) -> dict[str, float]:
        """Seconds since each thread last moved."""
        return {name: heartbeat.still_seconds for name, heartbeat in self._threads.items()}

    def start(self) -> None:
        """Start the watching thread. To be called once."""
        threading.Thread(target=self._run, name="stalls", daemon=True).start()

    def stop(self) -> None:
        """End the watching thread."""
        self._ends.set()

    def check(self) -> None:
        """Raise Unavailable with the reason while a thread is stalled, and for `limit` after that."""
        self.look()
        now = self._clock()
        for name, stall in self._stalls.items():
            if stall.seen_at is not None and now - stall.seen_at < self._limit:
                message = f"The {name} did not move for {stall.seconds:.0f} s; the log says where it was."
                raise Unavailable(message, code="stalled")

    def look(self) -> None:
        """Look at every thread, from any thread."""
        with self._lock:
            begun = [name for name in self._threads if self._begins_to_stall(name)]
        # Logging may wait for a reader of the log: not under the lock that /ready takes.
        for name in begun:
            heartbeat = self._threads[name]
            seconds, place = self._stalls[name].seconds, _place(heartbeat.thread_id)
            logger.error("the %s has not moved for %.0f s\n%s", name, seconds, place)

    def _begins_to_stall(self, name: str) -> bool:
        """Update the stall of a thread, with the lock held. Return True for the first look that sees it."""
        stall, still = self._stalls[name], self._threads[name].still_seconds
        if still < self._limit:
            stall.is_on = False
            return False
        stall.seconds, stall.seen_at = still, self._clock()
        begins, stall.is_on = not stall.is_on, True
        return begins

    def _run(self) -> None:
        while not self._ends.wait(min(1.0, self._limit / 4)):
            self.look()


async def beat_on_loop(heartbeat: Heartbeat) -> None:
    """Call `beat` on the event loop until cancelled."""
    try:
        while True:
            heartbeat.beat()
            await asyncio.sleep(BEAT_SECONDS)
    finally:
        heartbeat.stop()


def _place(thread_id: int | None) -> str:
    frame = sys._current_frames().get(thread_id or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))
