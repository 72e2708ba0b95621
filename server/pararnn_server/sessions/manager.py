"""Sessions for other threads: any thread asks, the store's thread answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from pararnn_server.errors import ServerError, Unavailable
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.metrics.tiers import Tier, TierTotal
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.turn import Turn, TurnResult
from pararnn_server.sessions.writer import StoreWriter

# A reader of the gauges waits no longer for the store's thread.
TOTALS_SECONDS = 2.0

P = ParamSpec("P")
T = TypeVar("T")


class SessionManager:
    """The interface of sessions for any thread. No call waits.

    kind: the model whose states these are.
    """

    def __init__(self, ledger: Ledger, writer: StoreWriter | None = None) -> None:
        self.kind: ModelKind = ledger.kind
        self.writer = writer or StoreWriter(ledger)
        self._ledger = ledger

    def of_model(self, kind: ModelKind, metrics: Metrics) -> SessionManager:
        """Return the sessions of another model in the same store, on the same thread."""
        return SessionManager(self._ledger.of_model(kind, metrics), self.writer)

    @overload
    def ask(
        self, function: Callable[Concatenate[Ledger, P], Steps[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    @overload
    def ask(
        self, function: Callable[Concatenate[Ledger, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    def ask(
        self, function: Callable[Concatenate[Ledger, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Any]:
        """Run a function of this package that takes the ledger first: `catalogue.get`, `branches.fork`,"""
        return self.writer.call(lambda _: function(self._ledger, *args, **kwargs))

    def commit(
        self, turn: Turn, result: TurnResult, done: Callable[[SessionInfo | ServerError], None]
    ) -> None:
        """Commit a turn. Call `done` on the store's thread once that is durable or has failed."""
        self.writer.submit(self._ledger, turn, result, done)

    def abandon(self, turn: Turn) -> None:
        """End a turn without a change, before anything that is asked later."""
        self.writer.abandon(turn)

    def start(self) -> None:
        """Start the store's thread. To be called once."""
        self.writer.start()

    def flush(self, seconds: float) -> None:
        """Wait, for so many seconds at most, until ended turns are in the store."""
        # Before Python 3.11 the timeout of a future is a class of its own.
        with suppress(Unavailable, TimeoutError, FutureTimeoutError):
            # Questions are answered after ended turns, so an empty one waits for them.
            self.writer.call(lambda _: None).result(seconds)

    def close(self) -> None:
        """End the store's thread and close the store."""
        self.writer.close()

    def totals(self) -> Mapping[Tier, TierTotal]:
        """Return totals over all owners; nothing if the store's thread does not answer."""
        try:
            return self.ask(Ledger.totals).result(TOTALS_SECONDS)
        except FutureTimeoutError:
            return {}
