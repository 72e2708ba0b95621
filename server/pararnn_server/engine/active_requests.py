"""Requests that wait or run: what each holds, and every way in which one ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pararnn_server.engine.executor import Executor
from pararnn_server.engine.prefix_reuse import PrefixReuse
from pararnn_server.engine.publisher import Publisher
from pararnn_server.engine.request import Failed, Finished, FinishReason, TokenUsage
from pararnn_server.engine.running import Choice, ReplyEnd, Running
from pararnn_server.engine.scheduler import Scheduler
from pararnn_server.engine.turn_committer import TurnCommitter
from pararnn_server.errors import ServerError
from pararnn_server.metrics.metrics import Metrics


class ActiveRequests:
    """Requests by id, with their places in the scheduler and their slots. For the engine thread only.

    on_end: called with the id of each request that has ended.
    """

    def __init__(
        self,
        executor: Executor,
        reuse: PrefixReuse,
        publisher: Publisher,
        committer: TurnCommitter,
        new_scheduler: Callable[[], Scheduler],
        metrics: Metrics,
        on_end: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._executor = executor
        self._reuse = reuse
        self._publisher = publisher
        self._committer = committer
        self._new_scheduler = new_scheduler
        self._metrics = metrics
        self._on_end = on_end
        self._clock = clock
        self._requests: dict[str, Running] = {}
        self.scheduler = new_scheduler()

    @property
    def by_id(self) -> Mapping[str, Running]:
        """Requests that have not ended."""
        return self._requests

    def add(self, running: Running) -> None:
        """Put a request into the queue."""
        self._requests[running.id] = running
        request = running.request
        self._reuse.arrive(running)
        num_tokens = len(running.feed_token_ids)
        self.scheduler.add(running.id, num_tokens, request.num_choices, request.owner)

    def has(self, running: Running) -> bool:
        """Return True if this very request has not ended; a later one may have its id."""
        return self._requests.get(running.id) is running

    def abort(self, request_id: str) -> None:
        """Free the slots of a request at once, and undo its turn. Unknown ids are ignored."""
        running = self._requests.get(request_id)
        if running is not None:
            self._end_early(running, "abort")

    def cancel(self, request_id: str) -> None:
        """End the replies of a request as they are, and commit them. Unknown ids are ignored."""
        running = self._requests.get(request_id)
        if running is None:
            return
        if not running.has_sampled:
            # Before the first id there is nothing to commit.
            self._end_early(running, "cancelled")
        for choice in list(running.choices.values()):
            self._publisher.publish_tokens(running, choice.flush())
            self.finish(running, choice, ReplyEnd("cancelled"))

    def fail(self, request_id: str, error: ServerError) -> None:
        """End a request with an error, and undo its turn. Unknown ids are ignored."""
        running = self._requests.get(request_id)
        if running is not None:
            self._forget(running)
            self._publisher.publish(running, Failed(error))

    def fail_all(self, error: ServerError) -> None:
        """End every request with an error, and start over with a pool whose slots are all free."""
        self._executor.discard_step()
        self.scheduler = self._new_scheduler()
        for request_id in list(self._requests):
            self.fail(request_id, error)

    def finish(self, running: Running, choice: Choice, end: ReplyEnd) -> None:
        """End one choice: free its slot, and commit its turn if it has one."""
        finished = Finished(choice.index, *end, usage=running.usage(choice), unshown_ids=choice.unshown_ids)
        # Both copy the state of the slot, which is freed below.
        result = self._committer.prepare(running, choice, finished)
        self._reuse.keep_reply(running, choice)
        del running.choices[choice.index]
        self._executor.free(self.scheduler.finish(running.id, choice.index))
        if not running.choices:
            self._remove(running)
        now = self._clock()
        self._metrics.request_decode_time.observe(now - (running.prefilled_at or now))
        # Last: a client that learns of the end may send its next request at once.
        self._committer.commit(running, finished, result)

    def _end_early(self, running: Running, reason: FinishReason) -> None:
        prompt_tokens = len(running.request.prompt_token_ids)
        usages = {index: running.usage(choice) for index, choice in running.choices.items()}
        if running.started_at is None:
            usages = {index: TokenUsage(prompt_tokens, 0) for index in range(running.request.num_choices)}
        self._forget(running)
        for index, usage in usages.items():
            self._publisher.publish_early_end(running, Finished(index, reason, None, usage))

    def _forget(self, running: Running) -> None:
        """Free what the request holds."""
        # Before its last event leaves: the client may send its next request at once.
        for slot in self.scheduler.remove(running.id):
            self._executor.free(slot)
        running.choices.clear()
        self._committer.abandon(running)
        self._remove(running)

    def _remove(self, running: Running) -> None:
        del self._requests[running.id]
        self._on_end(running.id)
