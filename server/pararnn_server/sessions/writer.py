"""The store's thread: it answers questions one by one, and commits turns that end together at once."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from pararnn_server.concurrency.futures import advance_into, begin_into
from pararnn_server.concurrency.stalls import Heartbeat
from pararnn_server.errors import ServerError, Unavailable
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.turn import Turn, TurnResult
from pararnn_server.sessions.turns import EndingTurn, abandon_turn, commit_turns

T = TypeVar("T")

TICK_SECONDS = 1.0
STOP_SECONDS = 30.0
# Questions that are answered between two looks at the turns that have ended.
QUESTIONS_AT_ONCE = 16

logger = logging.getLogger(__name__)


_Job = Callable[[], None]


class StoreWriter:
    """The store's thread. Any thread may call any method. Work that is put before `close` is done."""

    # Ended turns go first, in one commit, so that any later question sees them ended. Then come the oldest
    # questions, one piece of one long job, and one piece of deleted data.

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._jobs: SimpleQueue[EndingTurn | _Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store", daemon=True)
        self._is_open = False
        self._next_tick = 0.0
        self.heartbeat = Heartbeat()
        # Called on the store's thread with a request, and whether its reply is to be kept.
        self.on_turn_to_end: list[Callable[[str, bool], None]] = []
        self._endings: list[EndingTurn] = []
        self._waiting: deque[_Job] = deque()
        self._long: deque[Question] = deque()
        self._is_sweeping = False
        self._has_waste = True

    def start(self) -> None:
        """Start the thread. To be called once."""
        self._is_open = True
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the store; harmless when done twice."""
        if self._is_open:
            self._is_open = False
            # Behind all jobs that were put before, so that they are still done.
            self._jobs.put(None)
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                logger.error("the session store does not answer; giving it up")

    def submit(
        self,
        ledger: Ledger,
        turn: Turn,
        result: TurnResult,
        done: Callable[[SessionInfo | ServerError], None],
    ) -> None:
        """End the turn and commit it. done: called on the store's thread once that is durable, or failed."""
        self._put(EndingTurn(ledger, turn, result, time.perf_counter(), done))

    def abandon(self, turn: Turn) -> None:
        """End the turn without a change, before anything that is asked later."""
        self._put(lambda: abandon_turn(self._ledger, turn))

    def call(self, function: Callable[[Ledger], T | Steps[T]]) -> Future[T]:
        """Return a future of the function's result on the store's thread. Steps are done piece by piece."""
        future: Future[T] = Future()
        self._put(lambda: self._begin(Question(self._ledger, function, future)))
        return future

    def _put(self, job: EndingTurn | _Job) -> None:
        if not self._is_open:
            raise Unavailable("the server is shutting down", code="draining")
        self._jobs.put(job)

    def _run(self) -> None:
        is_open = True
        while is_open or self._is_busy:
            is_open = self._receive() and is_open
            self.heartbeat.beat()
            self._work()
            self._tick()
        self.heartbeat.stop()
        self._quietly(self._ledger.store.close)

    @property
    def _is_busy(self) -> bool:
        return bool(self._endings or self._waiting or self._long)

    def _receive(self) -> bool:
        """Take all jobs, and wait if there is nothing to do. Return False once no more will come."""
        # Deleted data is removed piece by piece whenever nothing else is to do.
        waits = not self._is_busy and not self._has_waste
        try:
            # A tick renews leases, also while nobody asks.
            job = self._jobs.get(timeout=TICK_SECONDS if waits else 0)
        except Empty:
            if waits:
                self._has_waste = self._quietly(self._ledger.store.idle) or False
            return True
        while job is not None:
            self._sort_in(job)
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return True
        return False

    def _sort_in(self, job: EndingTurn | _Job) -> None:
        if isinstance(job, EndingTurn):
            self._endings.append(job)
        else:
            self._waiting.append(job)

    def _work(self) -> None:
        if self._endings:
            endings, self._endings = self._endings, []
            self._quietly(lambda: commit_turns(self._ledger, endings))
        for _ in range(QUESTIONS_AT_ONCE):
            if self._waiting:
                self._quietly(self._waiting.popleft())
        if self._long:
            job = self._long.popleft()
            if job.advance():
                self._long.append(job)
        self._has_waste = self._quietly(self._ledger.store.purge) or False

    def _tick(self) -> None:
        if time.monotonic() < self._next_tick:
            return
        self._next_tick = time.monotonic() + TICK_SECONDS
        self._quietly(self._ledger.renew_leases)
        for request_id, is_kept in self._quietly(self._ledger.turns_to_end) or ():
            for end_turn in self.on_turn_to_end:
                # An engine ignores requests of others.
                end_turn(request_id, is_kept)
        # A sweep goes in pieces and may take longer than a tick.
        if not self._is_sweeping:
            self._is_sweeping = True
            swept: Future[None] = Future()
            swept.add_done_callback(self._end_sweep)
            self._begin(Question(self._ledger, Ledger.sweep, swept))

    def _end_sweep(self, swept: Future[None]) -> None:
        self._is_sweeping = False
        if swept.exception() is not None:
            logger.error("the session store failed in its housekeeping", exc_info=swept.exception())

    def _begin(self, job: Question) -> None:
        if job.begin():
            self._long.append(job)

    def _quietly(self, job: Callable[[], T]) -> T | None:
        """Log and swallow: no caller waits, or its future already holds the error."""
        try:
            return job()
        except Exception:
            logger.exception("the session store failed")
            return None


class Question:
    """A question to the ledger, and the future of its answer; most are answered at once."""

    def __init__(self, ledger: Ledger, function: Callable[[Ledger], T | Steps[T]], future: Future[T]) -> None:
        self._steps = _steps(ledger, function)
        self._future = future

    def begin(self) -> bool:
        """Answer it, unless the future was cancelled. Return True if it has pieces, none of which is done."""
        return begin_into(self._future, self._steps)

    def advance(self) -> bool:
        """Do one piece. Return False once the future has its result or its error."""
        return advance_into(self._future, self._steps)


def _steps(ledger: Ledger, function: Callable[[Ledger], T | Steps[T]]) -> Steps[T]:
    result = function(ledger)
    if isinstance(result, Generator):
        # The first piece waits its turn among the long jobs.
        yield
        return (yield from result)
    return result
