"""What the engine thread does and alone may touch: model, state pool, scheduler, running requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pararnn_core.models.base import ServingModel
from pararnn_core.sampling.sampler import Sampled
from pararnn_core.state import parts_bytes
from pararnn_server.access.keys import key_of
from pararnn_server.engine.executor import Executor, StepResult
from pararnn_server.engine.idle_prefill import IdlePrefill
from pararnn_server.engine.light_steps import LightSteps
from pararnn_server.engine.prefill_budget import PrefillBudget
from pararnn_server.engine.prefix_reuse import PrefixReuse
from pararnn_server.engine.request import (
    Failed,
    Finished,
    FinishReason,
    Output,
    PromptLogprobs,
    Started,
    Tokens,
    TokenUsage,
)
from pararnn_server.engine.running import Choice, ReplyEnd, Running
from pararnn_server.engine.scheduler import Admitted, Scheduler
from pararnn_server.engine.settings import EngineSettings
from pararnn_server.engine.stop_rollback import StopRollback
from pararnn_server.engine.turn_result import turn_result
from pararnn_server.errors import Internal, ServerError, Timeout, TooManyRequests
from pararnn_server.metrics.metrics import Metrics, PoolStats
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.turn import TurnResult
from pararnn_server.state_cache.state_cache import Partition, StateCache
from pararnn_server.text.vocabulary import Vocabulary

EXPIRY_INTERVAL = 0.05

logger = logging.getLogger(__name__)


class Worker:
    """One step at a time, by one thread at a time. `on_end` gets the id of each request that ends."""

    def __init__(
        self,
        model: ServingModel,
        vocabulary: Vocabulary,
        settings: EngineSettings,
        sessions: SessionManager,
        metrics: Metrics,
        on_end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vocabulary = vocabulary
        self._settings = settings
        self._sessions = sessions
        self._metrics = metrics
        self._on_end = on_end
        self._clock = clock
        state_bytes = parts_bytes(model.state_parts)
        self._executor = Executor(model, settings.max_num_seqs, settings.poison_freed_slots)
        self._cache = StateCache(settings.state_cache_bytes_per_key)
        self._reuse = PrefixReuse(
            self._executor, self._cache, settings.state_cache_interval, state_bytes, metrics
        )
        self._idle = IdlePrefill(self._executor, self._cache, state_bytes, metrics)
        self._scheduler = self._new_scheduler()
        self._prefill_budget = PrefillBudget(settings.max_decode_slowdown)
        self._light_steps = LightSteps()
        self._requests: dict[str, Running] = {}
        self._disconnected: set[str] = set()
        self._next_expiry = 0.0
        self._published_at = 0.0

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self._scheduler.has_work

    @property
    def has_idle_work(self) -> bool:
        """Whether a step without any request would do something."""
        return self._idle.has_work

    def stats(self) -> PoolStats:
        """Any thread may ask."""
        scheduler, slots = self._scheduler, self._settings.max_num_seqs
        return PoolStats(
            num_requests_running=scheduler.num_running,
            num_requests_waiting=scheduler.num_waiting,
            state_slots_used=slots - scheduler.num_free_slots,
            state_slots_total=slots,
            state_cache_bytes=self._cache.nbytes,
        )

    def add(self, running: Running) -> None:
        """Joins the queue."""
        self._requests[running.id] = running
        request = running.request
        self._reuse.arrive(running)
        self._scheduler.add(
            running.id, len(running.feed_token_ids), request.num_choices, key_of(request.owner)
        )

    def add_all(self, arrived: Sequence[Running]) -> None:
        """Requests that came together: each counts what was cached before any of them is read."""
        for running in arrived:
            self.add(running)

    def read_ahead(self, partition: Partition, token_ids: Sequence[int]) -> None:
        """Promises the state after `token_ids`, and computes it once there is time for it."""
        if self._cache.owner_bytes:
            self._idle.add(partition, token_ids)

    def abort(self, request_id: str) -> None:
        """Nobody listens any more: frees the slots at once; the turn is undone."""
        running = self._requests.get(request_id)
        if running is not None:
            self._end_early(running, "abort")

    def cancel(self, request_id: str) -> None:
        """Ends the reply as it stands and commits it. Before its first id there is nothing to commit."""
        running = self._requests.get(request_id)
        if running is None:
            return
        if not running.has_sampled:
            self._end_early(running, "cancelled")
        for choice in list(running.choices.values()):
            self._say(running, choice.flush())
            self._finish(running, choice, ReplyEnd("cancelled"))

    def fail(self, request_id: str, error: ServerError) -> None:
        """Ends the request with an error; the turn is undone."""
        running = self._requests.get(request_id)
        if running is not None:
            self._forget(running)
            self._emit(running, Failed(error))

    def fail_all(self, error: ServerError) -> None:
        """Ends every request and starts over with a pool that is wholly free."""
        self._executor.discard_step()
        self._scheduler = self._new_scheduler()
        for request_id in list(self._requests):
            self.fail(request_id, error)

    def step(self) -> None:
        """One batch: admits, feeds, samples, tells. A failure of the model ends the batch's requests only."""
        self._expire()
        for request_id in self._disconnected:
            self.abort(request_id)
        self._disconnected.clear()
        if self._executor.has_step_in_flight:
            self._land()
            return
        if not self._scheduler.has_work and self._idle.has_work:
            self._idle.step()
            return
        began = self._clock()
        for admitted in self._scheduler.admit():
            self._try_start(admitted)
        scheduler = self._scheduler
        rows = self._prefill_budget.prompt_rows(scheduler.num_decoding, scheduler.num_prefilling)
        light_keys = scheduler.light_keys if self._light_steps.is_due else frozenset()
        scheduled = scheduler.schedule(rows, light_keys or None)
        if not scheduled.prefills and not scheduled.decodes:
            return
        try:
            result = self._executor.run(scheduled, self._requests, scheduler.is_steady)
        except Exception:
            self._fail_step(scheduled.request_ids)
        else:
            self._reuse.keep_prompts(scheduled.prefills, self._requests)
            self._publish(result)
            decodes, seconds = len(scheduled.decodes), self._clock() - began
            self._prefill_budget.observe(decodes, scheduled.num_tokens - decodes, seconds)
            self._light_steps.observe(seconds, was_light=bool(light_keys))
            self._published_at = self._clock()

    def _land(self) -> None:
        """The end of a step that is under way. With it the next one begins, if that is clear by now."""
        began, request_ids = self._published_at, self._executor.ids_in_flight
        try:
            result = self._executor.finish_step(self._requests, self._scheduler.is_steady)
        except Exception:
            self._fail_step(request_ids)
        else:
            self._publish(result)
            self._published_at = self._clock()
            self._prefill_budget.observe(len(result.sampled), 0, self._published_at - began)

    def _new_scheduler(self) -> Scheduler:
        settings = self._settings
        return Scheduler(settings.max_num_seqs, settings.max_num_batched_tokens, settings.num_owners)

    def _expire(self) -> None:
        now = self._clock()
        if now < self._next_expiry:
            return
        self._next_expiry = now + EXPIRY_INTERVAL
        for running in list(self._requests.values()):
            if running.is_past(now):
                self.fail(running.id, _too_long())
            elif running.started_at is None and running.queue_deadline <= now:
                self._metrics.admission_rejections.labels("queue_timeout").inc()
                waited = self._settings.queue_timeout
                error = TooManyRequests(f"no slot became free in {waited:g} s", code="queue_timeout")
                self.fail(running.id, error)

    def _try_start(self, admitted: Admitted) -> None:
        try:
            self._start(admitted)
        except Exception:
            logger.exception("request %s cannot start", admitted.request_id)
            self.fail(admitted.request_id, Internal("the state to start from cannot be loaded"))

    def _start(self, admitted: Admitted) -> None:
        running = self._requests[admitted.request_id]
        now = self._clock()
        if running.is_past(now):
            self.fail(running.id, _too_long())
            return
        running.started_at = now
        for index, slot in enumerate(admitted.slots):
            running.choices[index] = self._new_choice(running, index, slot)
        beginning = self._reuse.begin(running)
        began = time.perf_counter()
        self._executor.load(admitted.slots[0], beginning.snapshot)
        if running.turn is not None:
            self._metrics.moved("host", "device", time.perf_counter() - began)
        self._scheduler.begin(running.id, beginning.num_tokens, beginning.marks)
        self._metrics.request_queue_time.observe(running.started_at - running.arrived_at)
        self._metrics.prompt_tokens.inc(len(running.request.prompt_token_ids))
        self._emit(running, Started(running.id, running.num_cached))

    def _new_choice(self, running: Running, index: int, slot: int) -> Choice:
        params = running.request.params
        undo = None
        if running.turn is not None and params.stop:
            undo = StopRollback(lambda: self._executor.snapshot(slot))
        return Choice(index, slot, params, self._vocabulary, undo)

    def _publish(self, result: StepResult) -> None:
        now = self._clock()
        if result.newton is not None:
            self._metrics.solved(result.newton)
        for running in result.broken:
            self.fail(running.id, Internal("the model gave no finite prediction"))
        for running, rows in result.scores:
            self._emit(running, PromptLogprobs(rows))
        for running in result.prefilled:
            self._end_prefill(running, now)
        for running, choice, sampled in result.sampled:
            try:
                self._accept(running, choice, sampled, now)
            except Exception:
                logger.exception("request %s failed", running.id)
                self.fail(running.id, Internal("the request failed in the server"))

    def _end_prefill(self, running: Running, now: float) -> None:
        if running.id not in self._requests:
            return
        running.prefilled_at = now
        self._metrics.request_prefill_time.observe(now - (running.started_at or now))
        if running.request.params.max_tokens == 0:
            for choice in list(running.choices.values()):
                self._finish(running, choice, ReplyEnd("length"))

    def _accept(self, running: Running, choice: Choice, sampled: Sampled, now: float) -> None:
        if running.id not in self._requests:
            return
        if choice.num_sampled:
            self._metrics.inter_token_latency.observe(now - choice.last_token_at)
        else:
            self._metrics.time_to_first_token.observe(now - running.arrived_at)
        choice.last_token_at = now
        self._metrics.generation_tokens.inc()
        tokens, ending = choice.accept(sampled)
        self._say(running, tokens)
        if ending is not None:
            self._finish(running, choice, ending)

    def _finish(self, running: Running, choice: Choice, ending: ReplyEnd) -> None:
        """Frees the slot. The last event of a session's turn waits for the store; the engine does not."""
        finished = Finished(choice.index, *ending, running.usage(choice))
        turn, result = running.turn, self._turn_result(running, choice, finished)
        self._reuse.keep_reply(running, choice)
        del running.choices[choice.index]
        self._executor.free(self._scheduler.finish(running.id, choice.index))
        if not running.choices:
            self._let_go(running)
        now = self._clock()
        self._metrics.request_decode_time.observe(now - (running.prefilled_at or now))
        if turn is None or result is None:
            self._end(running, finished)
        else:
            self._sessions.commit(turn, result, partial(self._committed, running, finished))

    def _committed(self, running: Running, finished: Finished, outcome: SessionInfo | ServerError) -> None:
        """On the store's thread."""
        if isinstance(outcome, ServerError):
            self._emit(running, Failed(outcome))
        else:
            self._end(running, replace(finished, session=outcome))

    def _end(self, running: Running, finished: Finished) -> None:
        self._metrics.request_success.labels(finished.finish_reason).inc()
        self._metrics.e2e_request_latency.observe(self._clock() - running.arrived_at)
        self._emit(running, finished)

    def _turn_result(self, running: Running, choice: Choice, finished: Finished) -> TurnResult | None:
        if running.turn is None:
            return None
        began = time.perf_counter()
        result = turn_result(
            running, choice, self._vocabulary.byte_ids, lambda: self._executor.snapshot(choice.slot), finished
        )
        self._metrics.moved("device", "host", time.perf_counter() - began)
        return result

    def _end_early(self, running: Running, reason: FinishReason) -> None:
        prompt_tokens = len(running.request.prompt_token_ids)
        usages = {index: running.usage(choice) for index, choice in running.choices.items()}
        if running.started_at is None:
            usages = {index: TokenUsage(prompt_tokens, 0) for index in range(running.request.num_choices)}
        self._forget(running)
        for index, usage in usages.items():
            self._metrics.request_success.labels(reason).inc()
            self._emit(running, Finished(index, reason, None, usage))

    def _forget(self, running: Running) -> None:
        """Frees what the request holds. Before its last event leaves: the client may act on that at once."""
        for slot in self._scheduler.remove(running.id):
            self._executor.free(slot)
        running.choices.clear()
        if running.turn is not None:
            self._sessions.abandon(running.turn)
        self._let_go(running)

    def _let_go(self, running: Running) -> None:
        del self._requests[running.id]
        self._on_end(running.id)

    def _fail_step(self, request_ids: set[str]) -> None:
        """In the handler of what it failed with."""
        logger.exception("a step failed; its requests end with a 500")
        self._executor.discard_step()
        for request_id in request_ids:
            self.fail(request_id, Internal("the model failed on this request's batch"))

    def _say(self, running: Running, tokens: Tokens | None) -> None:
        if tokens is not None and running.is_idempotent:
            running.published.append(tokens)
        self._emit(running, tokens)

    def _emit(self, running: Running, output: Output | None) -> None:
        """On either thread. A callback that raises belongs to a request that nobody listens to."""
        if output is None:
            return
        try:
            running.request.emit(output)
        except Exception:
            logger.exception("request %s cannot be answered", running.id)
            if running.id in self._requests:
                self._disconnected.add(running.id)


def _too_long() -> Timeout:
    return Timeout("the request took longer than its timeout")
