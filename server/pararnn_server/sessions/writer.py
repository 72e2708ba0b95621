"""The store's thread: what is asked of the ledger one by one, turns that end together in one commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from pararnn_server.errors import ServerError, Unavailable
from pararnn_server.futures import run_into
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.turn import EndingTurn, Turn, TurnResult
from pararnn_server.sessions.turns import abandon_turn, commit_turns

T = TypeVar("T")

TICK_SECONDS = 1.0
STOP_SECONDS = 30.0

logger = logging.getLogger(__name__)


class StoreWriter:
    """Any thread may call any method. Whatever is asked before `close` is done before it returns.

    Turns whose end waits go first, in one commit: whoever asks anything else meanwhile sees them ended.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._jobs: SimpleQueue[EndingTurn | Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store", daemon=True)
        self._is_open = False
        self._next_tick = 0.0

    def start(self) -> None:
        """Starts the thread; once."""
        self._is_open = True
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and closes the store; harmless when done twice."""
        if self._is_open:
            self._is_open = False
            self._jobs.put(None)
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                logger.error("the session store does not answer; giving it up")

    def submit(
        self, turn: Turn, result: TurnResult, done: Callable[[SessionInfo | ServerError], None]
    ) -> None:
        """Ends the turn and keeps it. done: called on the store's thread once that is durable, or failed."""
        self._put(EndingTurn(turn, result, time.perf_counter(), done))

    def abandon(self, turn: Turn) -> None:
        """Ends the turn and keeps nothing of it, before anything that is asked later."""
        self._put(lambda: abandon_turn(self._ledger, turn))

    def call(self, function: Callable[[Ledger], T]) -> Future[T]:
        """What the function returns or raises on the store's thread."""
        future: Future[T] = Future()
        self._put(lambda: run_into(future, lambda: function(self._ledger)))
        return future

    def _put(self, job: EndingTurn | Callable[[], None]) -> None:
        if not self._is_open:
            raise Unavailable("the server is shutting down", code="draining")
        self._jobs.put(job)

    def _run(self) -> None:
        jobs: list[EndingTurn | Callable[[], None] | None] = []
        while None not in jobs:
            jobs = self._take()
            self._do([job for job in jobs if job is not None])
            if time.monotonic() >= self._next_tick:
                self._next_tick = time.monotonic() + TICK_SECONDS
                self._quietly(self._ledger.sweep)
            if not jobs:
                self._quietly(self._ledger.store.idle)
        self._quietly(self._ledger.store.close)

    def _take(self) -> list[EndingTurn | Callable[[], None] | None]:
        """All there is; nothing after a silent second."""
        try:
            first = self._jobs.get(timeout=TICK_SECONDS)
        except Empty:
            return []
        return [first, *(self._jobs.get() for _ in range(self._jobs.qsize()))]

    def _do(self, jobs: list[EndingTurn | Callable[[], None]]) -> None:
        endings = [job for job in jobs if isinstance(job, EndingTurn)]
        if endings:
            self._quietly(lambda: commit_turns(self._ledger, endings))
        for job in jobs:
            if not isinstance(job, EndingTurn):
                self._quietly(job)

    def _quietly(self, job: Callable[[], None]) -> None:
        """What fails here failed for nobody who waits, or was told to whom it concerns."""
        try:
            job()
        except Exception:
            logger.exception("the session store failed")
