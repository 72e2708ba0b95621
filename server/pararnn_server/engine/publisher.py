"""Outputs on their way from the engine to the callbacks of their requests."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from pararnn_server.engine.request import Finished, Output, Tokens
from pararnn_server.engine.running import Running
from pararnn_server.metrics.metrics import Metrics

logger = logging.getLogger(__name__)


class Publisher:
    """Calls the callbacks of requests, on the engine thread or the store's thread."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._disconnected: deque[Running] = deque()

    def publish(self, running: Running, output: Output) -> None:
        """Hand one output to the request's callback. Note the request as disconnected if that raises."""
        try:
            running.request.emit(output)
        except Exception:
            # The step continues for the other requests. The worker aborts this one before its next step.
            logger.exception("request %s cannot be answered", running.id)
            self._disconnected.append(running)

    def publish_tokens(self, running: Running, tokens: Tokens | None) -> None:
        """Hand on the shown part of a choice, if any. Record it for a client that may repeat its request."""
        if tokens is None:
            return
        if running.is_idempotent:
            running.published.append(tokens)
        self.publish(running, tokens)

    def publish_end(self, running: Running, finished: Finished) -> None:
        """Count a reply that ended by itself or was cancelled, and hand on its last output."""
        self._metrics.request_success.labels(finished.finish_reason).inc()
        self._metrics.e2e_request_latency.observe(self._clock() - running.arrived_at)
        self.publish(running, finished)

    def publish_early_end(self, running: Running, finished: Finished) -> None:
        """Count a reply that was aborted, and hand on its last output. Its latency says nothing."""
        self._metrics.request_success.labels(finished.finish_reason).inc()
        self.publish(running, finished)

    def take_disconnected(self) -> list[Running]:
        """Return the requests whose callback has raised since the last call."""
        return [self._disconnected.popleft() for _ in range(len(self._disconnected))]
