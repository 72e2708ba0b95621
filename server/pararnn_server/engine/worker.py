"""The loop of the engine thread, one step of the model after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from pararnn_core.models.base import ServingModel
from pararnn_core.sampling.banned_sequences import BannedSequences
from pararnn_core.sampling.min_tokens import min_tokens_of
from pararnn_core.sampling.repeat_window import RepeatWindow
from pararnn_core.sampling.sampler import Sampled
from pararnn_core.state import parts_bytes
from pararnn_server.engine.active_requests import ActiveRequests
from pararnn_server.engine.activity import Activity, Progress, progress_of
from pararnn_server.engine.embedding import EmbeddingSum
from pararnn_server.engine.executor import Executor, StepResult
from pararnn_server.engine.idle_prefill import IdlePrefill
from pararnn_server.engine.light_steps import LightSteps
from pararnn_server.engine.mask_threads import MaskThreads
from pararnn_server.engine.prefill_budget import PrefillBudget
from pararnn_server.engine.prefix_reuse import PrefixReuse
from pararnn_server.engine.publisher import Publisher
from pararnn_server.engine.request import Embedding, PromptLogprobs, Started
from pararnn_server.engine.running import Choice, ReplyEnd, Running
from pararnn_server.engine.scheduler import Admitted, Scheduler
from pararnn_server.engine.settings import EngineSettings
from pararnn_server.engine.token_mask import ChoiceMask
from pararnn_server.engine.turn_committer import TurnCommitter, TurnStore
from pararnn_server.errors import Internal, ServerError, Timeout, TooManyRequests
from pararnn_server.metrics.metrics import Metrics, PoolStats
from pararnn_server.state_cache.state_cache import Partition, StateCache
from pararnn_server.text.vocabulary import Vocabulary

# Seconds between two walks over all requests: one before every step would cost each of them.
EXPIRY_INTERVAL = 0.05

logger = logging.getLogger(__name__)


class Worker:
    """Owns the model, its state pool, the scheduler and all requests. One thread at a time may call it.

    on_end: called with the id of each request that has ended.
    """

    def __init__(
        self,
        model: ServingModel,
        vocabulary: Vocabulary,
        settings: EngineSettings,
        sessions: TurnStore,
        metrics: Metrics,
        on_end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vocabulary = vocabulary
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.activity = Activity(clock)
        state_bytes = parts_bytes(model.state_parts)
        self._executor = Executor(model, settings.max_num_seqs, settings.poison_freed_slots)
        self._cache = StateCache(settings.state_cache_bytes_per_key, clock)
        self._reuse = PrefixReuse(
            self._executor, self._cache, settings.state_cache_interval, state_bytes, metrics
        )
        self._idle = IdlePrefill(self._executor, self._cache, state_bytes, metrics)
        self._publisher = Publisher(metrics, clock)
        self._committer = TurnCommitter(
            sessions, self._publisher, metrics, vocabulary.byte_ids, self._executor.snapshot
        )
        self._active = ActiveRequests(
            self._executor,
            self._reuse,
            self._publisher,
            self._committer,
            self._new_scheduler,
            metrics,
            on_end,
            clock,
        )
        self._prefill_budget = PrefillBudget(settings.max_decode_slowdown)
        self._light_steps = LightSteps()
        self._mask_threads = MaskThreads()
        self._next_expiry = 0.0
        self._published_at = 0.0

    @property
    def has_work(self) -> bool:
        """True if a request waits or runs."""
        return self._active.scheduler.has_work

    @property
    def has_idle_work(self) -> bool:
        """True if a step without any request has something to read ahead."""
        return self._idle.has_work

    def stats(self) -> PoolStats:
        """Return the numbers of requests and slots. Any thread may call it."""
        scheduler, slots = self._active.scheduler, self._settings.max_num_seqs
        return PoolStats(
            num_requests_running=scheduler.num_running,
            num_requests_waiting=scheduler.num_waiting,
            state_slots_used=slots - scheduler.num_free_slots,
            state_slots_total=slots,
            state_cache_bytes=self._cache.nbytes,
        )

    def progress(self) -> list[Progress]:
        """Return the requests that have a slot. Any thread may call it."""
        now, num_read = self._clock(), self._active.scheduler.num_read
        # A copy first: the engine's thread adds and removes requests meanwhile.
        requests = list(self._active.by_id.values())
        return [progress_of(each, num_read(each.id), now) for each in requests if each.started_at is not None]

    def num_slots(self, key: str) -> int:
        """Return the slots that a key holds. Any thread may call it."""
        return self._active.scheduler.num_slots(key)

    def state_cache_bytes(self, key: str) -> int:
        """Return the bytes that a key's states take in the state cache. Any thread may call it."""
        return self._cache.taken_bytes(key)

    def add(self, running: Running) -> None:
        """Put a request into the queue."""
        self._active.add(running)

    def add_all(self, arrived: Sequence[Running]) -> None:
        """Put requests that arrived together into the queue."""
        # Each counts what was cached before any of them is read.
        for running in arrived:
            self.add(running)

    def read_ahead(self, partition: Partition, token_ids: Sequence[int]) -> None:
        """Promise the state after `token_ids`, and compute it once there is time for it."""
        if self._cache.owner_bytes:
            self._idle.add(partition, token_ids)

    def abort(self, request_id: str) -> None:
        """Free the slots of a request at once, and undo its turn. Unknown ids are ignored."""
        self._active.abort(request_id)

    def cancel(self, request_id: str) -> None:
        """End the replies of a request as they are, and commit them. Unknown ids are ignored."""
        self._active.cancel(request_id)

    def fail(self, request_id: str, error: ServerError) -> None:
        """End a request with an error, and undo its turn. Unknown ids are ignored."""
        self._active.fail(request_id, error)

    def fail_all(self, error: ServerError) -> None:
        """End every request with an error, and start over with a pool whose slots are all free."""
        self._active.fail_all(error)

    def step(self) -> None:
        """Run one batch, or finish the one in flight. A failure ends the requests of that batch only."""
        self._expire()
        for running in self._publisher.take_disconnected():
            # It may have ended since its callback raised.
            if self._active.has(running):
                self.abort(running.id)
        if self._executor.has_step_in_flight:
            self._finish_step()
        # Only without requests: one that arrives reads what it needs itself.
        elif not self._active.scheduler.has_work and self._idle.has_work:
            self._idle.step()
        else:
            self._run_step()

    def _run_step(self) -> None:
        """Admit requests, run the scheduled batch and publish its outputs."""
        began, scheduler = self._clock(), self._active.scheduler
        for admitted in scheduler.admit():
            self._try_start(admitted)
        rows = self._prefill_budget.prompt_rows(scheduler.num_decoding, scheduler.num_prefilling)
        light_keys = scheduler.light_keys if self._light_steps.is_due else frozenset()
        scheduled = scheduler.schedule(rows, light_keys or None)
        # Everything that was admitted may have failed in its start.
        if not scheduled.prefills and not scheduled.decodes:
            return
        try:
            result = self._executor.run(scheduled, self._active.by_id, scheduler.is_steady)
        except Exception:
            self._fail_step(scheduled.request_ids)
        else:
            # First, because a reply that ends below gives its slot away.
            self._reuse.keep_prompts(scheduled.prefills, self._active.by_id)
            self._publish(result)
            decodes, seconds = len(scheduled.decodes), self._clock() - began
            self._prefill_budget.observe(decodes, scheduled.num_tokens - decodes, seconds)
            self._light_steps.observe(seconds, was_light=bool(light_keys))
            self.activity.stepped(scheduled.num_tokens - decodes, decodes, seconds)
            self._published_at = self._clock()

    def _finish_step(self) -> None:
        """Publish the outputs of the step in flight. The next one starts first where that is allowed."""
        # The step began before the last ids were read: a reply sees the time between two publications.
        began, request_ids = self._published_at, self._executor.ids_in_flight
        try:
            result = self._executor.finish_step(self._active.by_id, self._active.scheduler.is_steady)
        except Exception:
            self._fail_step(request_ids)
        else:
            self._publish(result)
            self._published_at = self._clock()
            seconds = self._published_at - began
            self._prefill_budget.observe(len(result.sampled), 0, seconds)
            self.activity.stepped(0, len(result.sampled), seconds)

    def _new_scheduler(self) -> Scheduler:
        settings = self._settings
        return Scheduler(settings.max_num_seqs, settings.max_num_batched_tokens, settings.num_owners)

    def _expire(self) -> None:
        now = self._clock()
        if now < self._next_expiry:
            return
        self._next_expiry = now + EXPIRY_INTERVAL
        for running in list(self._active.by_id.values()):
            if running.is_past(now):
                self.fail(running.id, _too_long())
            elif running.started_at is None and running.queue_deadline <= now:
                self._metrics.admission_rejections.labels("queue_timeout").inc()
                waited = self._settings.queue_timeout
                error = TooManyRequests(f"no slot became free in {waited:g} s", code="queue_timeout")
                self.fail(running.id, error)

    def _try_start(self, admitted: Admitted) -> None:
        try:
            self._start(self._active.by_id[admitted.request_id], admitted.slots)
        except ServerError as error:
            self.fail(admitted.request_id, error)
        except Exception:
            logger.exception("request %s cannot start", admitted.request_id)
            self.fail(admitted.request_id, Internal("the state to start from cannot be loaded"))

    def _start(self, running: Running, slots: Sequence[int]) -> None:
        now = self._clock()
        # `_expire` looks at deadlines only now and then.
        if running.is_past(now):
            self.fail(running.id, _too_long())
            return
        running.started_at = now
        params, token_mask = running.request.params, running.request.token_mask
        vocab_size = len(self._vocabulary.token_bytes)
        min_tokens = min_tokens_of(params, self._vocabulary.eos_token_id, vocab_size)
        banned = BannedSequences(params.banned_sequences, vocab_size) if params.banned_sequences else None
        for index, slot in enumerate(slots):
            rollback = self._committer.new_rollback(running, slot)
            mask = None if token_mask is None else ChoiceMask(token_mask, running.id)
            running.choices[index] = Choice(
                index,
                slot,
                params,
                self._vocabulary,
                rollback,
                mask,
                min_tokens,
                self._window(running),
                banned,
            )
        self._make_masks([(running, choice) for choice in running.choices.values()])
        start = self._reuse.begin(running)
        began = time.perf_counter()
        self._executor.load(slots[0], start.snapshot)
        if running.turn is not None:
            self._metrics.moved("host", "device", time.perf_counter() - began)
        self._active.scheduler.begin(running.id, start.num_tokens, start.marks)
        self._metrics.request_queue_time.observe(running.started_at - running.arrived_at)
        self._metrics.prompt_tokens.inc(len(running.request.prompt_token_ids))
        self._publisher.publish(running, Started(running.id, running.num_cached, running.num_written))

    def _window(self, running: Running) -> RepeatWindow | None:
        params = running.request.params
        if not params.has_window:
            return None
        # Ids before them would leave at once.
        start = max(0, len(running.feed_token_ids) - params.repeat_last_n)
        ids = running.feed_token_ids[start:]
        return RepeatWindow(params.repeat_last_n, len(self._vocabulary.token_bytes), ids)

    def _publish(self, result: StepResult) -> None:
        now = self._clock()
        if result.newton is not None:
            self._metrics.solved(result.newton)
        for running in result.broken:
            self.fail(running.id, Internal("the model gave no finite prediction"))
        for running, error in result.refused:
            self.fail(running.id, error)
        for running, rows in result.scores:
            self._publisher.publish(running, PromptLogprobs(rows))
        for running in result.prefilled:
            self._end_prefill(running, now)
        for running, choice, sampled in result.sampled:
            try:
                self._accept(running, choice, sampled, now)
            except ServerError as error:
                self.fail(running.id, error)
            except Exception:
                logger.exception("request %s failed", running.id)
                self.fail(running.id, Internal("the request failed in the server"))
        self._follow_masks(result)

    def _follow_masks(self, result: StepResult) -> None:
        """Plan the next ids of choices with a mask, while the model has nothing to do with them."""
        masked = {
            (running.id, choice.index): (running, choice)
            for running, choice, _ in result.sampled
            if choice.mask is not None and choice.index in running.choices and self._active.has(running)
        }
        for running, choice in masked.values():
            self._active.scheduler.force(running.id, choice.index, choice.num_fixed())
        self._make_masks([*masked.values()])

    def _make_masks(self, choices: Sequence[tuple[Running, Choice]]) -> None:
        """Begin to make the masks of the next draws, to be there when the step has given its logits."""
        self._mask_threads.start(
            (running.request.owner, choice.mask)
            for running, choice in choices
            if choice.mask is not None and choice.mask.coming is None and choice.is_drawn_next
        )

    def _end_prefill(self, running: Running, now: float) -> None:
        if running.id not in self._active.by_id:
            return
        running.prefilled_at = now
        self._metrics.request_prefill_time.observe(now - (running.started_at or now))
        if running.embedding is not None and not self._publish_embedding(running, running.embedding):
            return
        if running.request.params.max_tokens == 0:
            for choice in list(running.choices.values()):
                self._active.finish(running, choice, ReplyEnd("length"))
            return
        for choice in [choice for choice in running.choices.values() if choice.is_complete]:
            self._active.finish(running, choice, ReplyEnd("stop"))

    def _publish_embedding(self, running: Running, embedding: EmbeddingSum) -> bool:
        vector = embedding.vector()
        if vector is None:
            self.fail(running.id, Internal("the model gave no finite embedding"))
            return False
        self._publisher.publish(running, Embedding(vector))
        return True

    def _accept(self, running: Running, choice: Choice, sampled: Sampled, now: float) -> None:
        # An earlier output of this step may have ended the request.
        if not self._active.has(running) or choice.index not in running.choices:
            return
        key = running.request.owner
        if choice.num_sampled:
            self._metrics.inter_token_latency.observe(now - choice.last_token_at)
            self.activity.next_token(key, now - choice.last_token_at, now)
        else:
            self._metrics.time_to_first_token.observe(now - running.arrived_at)
            self.activity.first_token(key, now - running.arrived_at, now)
        choice.last_token_at = now
        self._metrics.generation_tokens.inc()
        tokens, end = choice.accept(sampled)
        self._publisher.publish_tokens(running, tokens)
        if end is not None:
            self._active.finish(running, choice, end)

    def _fail_step(self, request_ids: set[str]) -> None:
        """End the requests of a step that raised. Called in the handler of its exception, which is logged."""
        logger.exception("a step failed; its requests end with a 500")
        self._executor.discard_step()
        for request_id in request_ids:
            self.fail(request_id, Internal("the model failed on this request's batch"))


def _too_long() -> Timeout:
    return Timeout("the request took longer than its timeout")
