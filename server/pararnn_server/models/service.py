"""What every route works with: options, keys and, once it is loaded, the model with its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from starlette.requests import Request

from pararnn_server.access.body_budget import BodyBudget
from pararnn_server.access.keys import KeyRing
from pararnn_server.access.limits import KeyLimits
from pararnn_server.concurrency.fair_threads import FairThreads
from pararnn_server.concurrency.key_locks import KeyLocks
from pararnn_server.concurrency.stalls import Heartbeat, StallWatch
from pararnn_server.engine.engine import Engine
from pararnn_server.engine.outputs import OutputDispatcher
from pararnn_server.errors import NotFound, Unavailable
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.models.chat_readahead import ChatReadahead
from pararnn_server.models.sampling_defaults import SamplingDefaults
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.steps import Steps
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.prompts import PromptReader
from pararnn_server.text.tokenizer import Tokenizer

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Serving:
    """A loaded model and all that answers for it.

    names: what clients may call the model; answers carry the first.
    system_fingerprint: of the model and the build; under one value the same request has the same answer.
    created: seconds since 1970. weight_bytes: of the model's matrices. state_bytes: of one session.
    stop_token_ids: ends of a reply besides the model's own EOS. readahead: None where no states are kept.
    """

    names: Sequence[str]
    system_fingerprint: str
    created: int
    weight_bytes: int
    state_bytes: int
    tokenizer: Tokenizer
    prompts: PromptReader
    chat: ChatPrompts
    stop_token_ids: Sequence[int]
    sampling_defaults: SamplingDefaults
    engine: Engine
    sessions: SessionManager
    dispatcher: OutputDispatcher
    readahead: ChatReadahead | None

    @overload
    async def ask(
        self, function: Callable[Concatenate[Ledger, P], Steps[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def ask(
        self, function: Callable[Concatenate[Ledger, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def ask(
        self, function: Callable[Concatenate[Ledger, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """As SessionManager.ask."""
        return await asyncio.wrap_future(self.sessions.ask(function, *args, **kwargs))

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]

    def check_model(self, name: str | None) -> None:
        """Left out, the one model is meant. Raises NotFound."""
        if name is not None and name not in self.names:
            served = " or ".join(map(repr, self.names))
            message = f"The model {name!r} is not served here; send {served}, or leave it out."
            raise NotFound(message, param="model", code="model_not_found")


class Service:
    """State of one application; for the event loop only."""

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self.settings = settings
        self.keys = keys
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
        self.metrics = Metrics()
        self.loaded: Serving | None = None
        self.draining = False
        self.loop_heartbeat = Heartbeat()
        self.store_heartbeat = Heartbeat()
        threads = {"event loop": self.loop_heartbeat, "store's thread": self.store_heartbeat}
        self.stalls = StallWatch(settings.ready_stall_seconds, threads)
        self.metrics.watch_threads(lambda: self.stalls.still_seconds)

    def reading(self) -> Serving:
        """For requests that start nothing. Raises Unavailable while the model loads."""
        if self.loaded is None:
            raise Unavailable("The model is still loading.", code="loading")
        return self.loaded

    def accepting(self) -> Serving:
        """For requests that start something. Raises Unavailable while loading or draining."""
        if self.draining:
            raise Unavailable("The server is shutting down.", code="draining")
        serving = self.reading()
        if not serving.engine.is_accepting:
            raise Unavailable("The engine has stopped; the log says why.", code="engine_stopped")
        return serving


def service_of(request: Request) -> Service:
    """The service of the application that got the request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
