"""The engine: one thread that runs the model, and the calls that reach it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from pararnn_core.models.base import ServingModel
from pararnn_server.concurrency.futures import run_into
from pararnn_server.engine.activity import Activity, Progress
from pararnn_server.engine.admission import Admission, check_request
from pararnn_server.engine.request import Request
from pararnn_server.engine.running import Running
from pararnn_server.engine.settings import EngineSettings
from pararnn_server.engine.worker import Worker
from pararnn_server.errors import BadRequest, Conflict, Internal, ServerError, TooManyRequests, Unavailable
from pararnn_server.metrics.metrics import Metrics, PoolStats
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.turn import Turn
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.vocabulary import Vocabulary

T = TypeVar("T")

HARD_STOP_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Engine:
    """An engine thread and its inbox. Any thread may call any method; it takes effect between two steps.

    token_bytes: text of each id of the tokenizer, b"" for special ones.
    special_ids: by spelling, so that a stop string can name them.
    hidden_size: numbers of an embedding.
    """

    def __init__(
        self,
        model: ServingModel,
        token_bytes: Sequence[bytes],
        special_ids: Mapping[str, int],
        settings: EngineSettings,
        sessions: SessionManager,
        metrics: Metrics,
    ) -> None:
        config = model.config
        self.hidden_size = model.hidden_size
        self._settings = settings
        self.sessions = sessions
        self._metrics = metrics
        self._vocabulary = Vocabulary.build(token_bytes, config.vocab_size, config.eos_token_id, special_ids)
        self._admission = Admission(
            settings.max_num_seqs + settings.max_queue, settings.num_owners, settings.max_queue_bytes
        )
        self._worker = Worker(model, self._vocabulary, settings, sessions, metrics, self._admission.release)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # A daemon: a thread that is stuck in a step must not keep the process alive.
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        # Without it a job could arrive between the last look at the inbox and the thread's end.
        self._gate = Lock()
        self._is_draining = False
        self._is_closed = False
        metrics.watch(self.stats, sessions.totals)
        sessions.writer.on_turn_to_end.append(self._end_turn)

    @property
    def is_accepting(self) -> bool:
        """True while the thread runs and takes requests."""
        return self._thread.is_alive() and not self._is_draining

    @property
    def is_busy(self) -> bool:
        """True if any request waits or runs."""
        return self._worker.has_work

    @property
    def max_choices(self) -> int:
        """Replies of one key that may run and wait at once."""
        return self._admission.max_choices

    def stats(self) -> PoolStats:
        """Return the numbers of requests and slots at this moment."""
        return self._worker.stats()

    @property
    def limits(self) -> EngineSettings:
        """Limits of the engine."""
        return self._settings

    @property
    def activity(self) -> Activity:
        """Recent steps and latencies. Any thread may read it."""
        return self._worker.activity

    def progress(self) -> list[Progress]:
        """Return the requests that have a slot."""
        return self._worker.progress()

    def num_slots(self, key: str) -> int:
        """Return the slots that a key holds."""
        return self._worker.num_slots(key)

    def state_cache_bytes(self, key: str) -> int:
        """Return the bytes that a key's states take in the state cache, with those still to be read."""
        return self._worker.state_cache_bytes(key)

    def start(self) -> None:
        """Start the thread. To be called once."""
        self._thread.start()

    def stop(self, drain_seconds: float) -> None:
        """Refuse new requests, wait for the others, then end the rest with a 503. Blocks."""
        self._is_draining = True
        if not self._thread.is_alive():
            return
        with suppress(Unavailable):
            # The thread may sleep in its inbox, and would not notice that it drains.
            self._post(_nothing)
            self._thread.join(drain_seconds)
            self._post(lambda: self._worker.fail_all(_shutting_down()))
        # A step is one native call, which nothing can interrupt.
        self._thread.join(HARD_STOP_SECONDS)
        if self._thread.is_alive():
            logger.error("the engine thread is stuck in a step; giving it up")
        # Turns of the last replies may still wait for their commit.
        self.sessions.flush(HARD_STOP_SECONDS)

    def submit(self, request: Request, turn: Turn | None = None) -> None:
        """Queue a request, as `submit_all` does."""
        self.submit_all([request], turn)

    def submit_all(self, requests: Sequence[Request], turn: Turn | None = None) -> None:
        """Queue all of these requests or none, with no step of the engine between them.

        turn: of the session that the one request names, ended here if the request is refused.
        Raises BadRequest, TooManyRequests (queue full), Unavailable (shutting down).
        """
        with ExitStack() as cleanup:
            if turn is not None:
                cleanup.callback(self.sessions.abandon, turn)
            arrived: list[Running] = []
            for request in requests:
                check_request(request, self._vocabulary, self._settings.max_slots_per_key)
                if turn is not None and not turn.num_tokens and not request.prompt_token_ids:
                    raise BadRequest("the prompt is empty, and so is the session", param="prompt")
                if self._is_draining:
                    self._metrics.admission_rejections.labels("draining").inc()
                    raise _shutting_down()
                # On the caller's thread, so that a full queue is refused at once.
                self._reserve(request)
                cleanup.callback(self._admission.release, request.request_id)
                arrived.append(Running(request, turn, time.monotonic(), self._settings.queue_timeout))
            self._post(lambda: self._worker.add_all(arrived))
            # From here on the worker releases them.
            cleanup.pop_all()

    def read_ahead(self, partition: Partition, token_ids: Sequence[int]) -> None:
        """Promise the state after `token_ids`: requests submitted later count on it.

        It is computed from the longest cached prefix, while no request waits or by the first that needs it.
        Ignored while shutting down.
        """
        if not self._is_draining:
            # The engine may begin to close meanwhile; reading ahead is worth nothing then.
            with suppress(Unavailable):
                self._post(lambda: self._worker.read_ahead(partition, token_ids))

    def abort(self, request_id: str) -> None:
        """Free the slots of a request whose client has left, before the next step. Ignores unknown ids."""
        with suppress(Unavailable):
            # A closed engine has already ended every request.
            self._post(lambda: self._worker.abort(request_id))

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run a function on the engine thread between two steps. Raises Unavailable once it has ended."""
        future: Future[T] = Future()
        self._post(lambda: run_into(future, function))
        return future

    def cancel(self, request_id: str) -> Future[None]:
        """End a session's reply as it is, and hand what was delivered to the store.

        A reply of which nothing was delivered is undone. Unknown ids are ignored.
        """
        return self.call(lambda: self._worker.cancel(request_id))

    def fail(self, request_id: str, error: ServerError) -> None:
        """End a request with an error. Unknown ids are ignored."""
        with suppress(Unavailable):
            # A closed engine has already ended every request.
            self._post(lambda: self._worker.fail(request_id, error))

    def _end_turn(self, request_id: str, is_kept: bool) -> None:
        """End a turn that another server asked to end (is_kept), or has overtaken or deleted."""
        if is_kept:
            # A closed engine has already ended the turn.
            with suppress(Unavailable):
                self.cancel(request_id)
        else:
            message = "the session was changed or deleted by another server; nothing of this is kept"
            self.fail(request_id, Conflict(message, param="session_id", code="lease_lost"))

    def _reserve(self, request: Request) -> None:
        try:
            self._admission.reserve(request)
        except TooManyRequests:
            self._metrics.admission_rejections.labels("queue_full").inc()
            raise

    def _post(self, job: Callable[[], None]) -> None:
        with self._gate:
            if self._is_closed:
                raise _shutting_down()
            self._inbox.put(job)

    def _run(self) -> None:
        try:
            while not self._close_if_done():
                self._read_inbox()
                self._step()
        finally:
            self._is_closed = True
            self._worker.fail_all(Internal("the engine has ended"))

    def _close_if_done(self) -> bool:
        with self._gate:
            self._is_closed = self._is_draining and not self._worker.has_work and self._inbox.empty()
            return self._is_closed

    def _read_inbox(self) -> None:
        """Run the calls that wait. Sleep while there is neither work nor a call."""
        jobs = [] if self._worker.has_work or self._worker.has_idle_work else [self._inbox.get()]
        # Only what is there now: callers that never pause would hold up the step.
        jobs += [self._inbox.get() for _ in range(self._inbox.qsize())]
        for job in jobs:
            try:
                job()
            except Exception:
                logger.exception("a call into the engine failed")

    def _step(self) -> None:
        try:
            self._worker.step()
        except Exception:
            logger.exception("the engine failed outside of the model; every request ends with a 500")
            self._worker.fail_all(Internal("the engine failed"))


def _shutting_down() -> Unavailable:
    return Unavailable("the server is shutting down", code="draining")


def _nothing() -> None:
    """Wake the engine thread."""
