"""Turns of sessions whose reply has ended, on their way to the store's thread and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from pararnn_core.state import StateSnapshot
from pararnn_server.engine.publisher import Publisher
from pararnn_server.engine.request import Failed, Finished
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.stop_rollback import StopRollback
from pararnn_server.engine.turn_result import turn_result
from pararnn_server.errors import ServerError
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.turn import Turn, TurnResult


class TurnStore(Protocol):
    """The part of SessionManager that ends turns. No call waits."""

    def commit(
        self, turn: Turn, result: TurnResult, done: Callable[[SessionInfo | ServerError], None]
    ) -> None:
        """Commit the turn. Call `done` on the store's thread once that is durable or has failed."""

    def abandon(self, turn: Turn) -> None:
        """End the turn without a change."""


class TurnCommitter:
    """Commits what a reply adds to its session, and publishes its last output once that is durable.

    byte_ids: id of each single byte. snapshot: copies the state of a slot.
    """

    def __init__(
        self,
        store: TurnStore,
        publisher: Publisher,
        metrics: Metrics,
        byte_ids: Sequence[int],
        snapshot: Callable[[int], StateSnapshot],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._byte_ids = byte_ids
        self._snapshot = snapshot

    def new_rollback(self, running: Running, slot: int) -> StopRollback | None:
        """Return the copies that a stop string may need; None for a reply whose state is not committed."""
        if not _keeps_state(running) or not running.request.params.stop:
            return None
        return StopRollback(lambda: self._snapshot(slot))

    def prepare(self, running: Running, choice: Choice, finished: Finished) -> TurnResult | None:
        """Copy what the reply adds to its state, while the choice has its slot. None: nobody keeps it."""
        if not _keeps_state(running):
            return None
        began = time.perf_counter()
        result = turn_result(running, choice, self._byte_ids, lambda: self._snapshot(choice.slot), finished)
        self._metrics.moved("device", "host", time.perf_counter() - began)
        return result

    def commit(self, running: Running, finished: Finished, result: TurnResult | None) -> None:
        """End the reply: at once without a session, else when the store has committed the turn."""
        turn = running.turn
        if turn is None or result is None:
            self._publisher.publish_end(running, replace(finished, result=result))
        else:
            if running.request.returns_state:
                finished = replace(finished, result=result)
            # The client's last event waits for the disk; the engine's next step does not.
            self._store.commit(turn, result, partial(self._publish_outcome, running, finished))

    def abandon(self, running: Running) -> None:
        """End the request's turn without a change, if it has one."""
        if running.turn is not None:
            self._store.abandon(running.turn)

    def _publish_outcome(
        self, running: Running, finished: Finished, outcome: SessionInfo | ServerError
    ) -> None:
        """Run on the store's thread."""
        if isinstance(outcome, ServerError):
            # A failed commit has undone the turn, so the reply must not look complete.
            self._publisher.publish(running, Failed(outcome))
        else:
            self._publisher.publish_end(running, replace(finished, session=outcome))


def _keeps_state(running: Running) -> bool:
    return running.turn is not None or running.request.returns_state
