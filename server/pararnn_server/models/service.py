"""The service: settings, keys, limits and the models that every route works with."""

from __future__ import annotations

from starlette.requests import Request

from pararnn_server.access.body_budget import BodyBudget
from pararnn_server.access.keys import KeyRing
from pararnn_server.access.limits import KeyLimits
from pararnn_server.access.seal import Sealer
from pararnn_server.concurrency.fair_threads import FairThreads
from pararnn_server.concurrency.key_locks import KeyLocks
from pararnn_server.concurrency.stalls import Heartbeat, StallWatch
from pararnn_server.errors import Unavailable
from pararnn_server.metrics.metrics import ServerMetrics
from pararnn_server.models.registry import ModelRegistry
from pararnn_server.settings.server_settings import Settings


class Service:
    """State of one application; for the event loop only."""

    def __init__(self, settings: Settings, keys: KeyRing, sealer: Sealer) -> None:
        self.settings = settings
        self.keys = keys
        self.sealer = sealer
        self.limits = KeyLimits(
            settings.key_max_requests, settings.key_requests_per_minute, settings.key_tokens_per_minute
        )
        self.bodies = BodyBudget(
            # Of several keys each can take at least half of the total: the largest body fits.
            max(settings.max_inflight_body_bytes, 2 * settings.max_body_bytes),
            max(settings.key_max_inflight_body_bytes, settings.max_body_bytes),
            len(keys.names),
        )
        # Parsing holds the interpreter, so a second thread would gain nothing.
        self.parsers = FairThreads(1, "bodies")
        # A stored conversation that is read again is many times larger than the request that asks for it.
        self.rereads = KeyLocks()
        self.metrics = ServerMetrics()
        self.models = ModelRegistry()
        self.draining = False
        self.loop_heartbeat = Heartbeat()
        self.store_heartbeat = Heartbeat()
        threads = {"event loop": self.loop_heartbeat, "store's thread": self.store_heartbeat}
        self.stalls = StallWatch(settings.ready_stall_seconds, threads)
        self.metrics.watch_threads(lambda: self.stalls.still_seconds)

    def check_accepting(self) -> None:
        """Raise Unavailable for a request that would start work, while loading or draining."""
        if self.draining:
            raise Unavailable("The server is shutting down.", code="draining")
        self.models.get()
        if not any(model.engine.is_accepting for model in self.models):
            raise Unavailable("The engine has stopped; the log says why.", code="engine_stopped")


def service_of(request: Request) -> Service:
    """The service of the application that got the request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
