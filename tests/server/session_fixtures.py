"""Sessions without an engine, with each call answered at once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, RLock
from typing import Any, TypeVar

import torch
from pararnn_server.access.owner import Owner, decode_owner
from pararnn_server.errors import ServerError
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions import turns
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.model_kind import ModelKind, model_kind
from pararnn_server.sessions.names import LOG
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.record import SessionRecord, decode_record
from pararnn_server.sessions.session import SessionDetails, SessionInfo, SessionPage, TurnInfo
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.store import SessionStore
from pararnn_server.sessions.token_log import read_log
from pararnn_server.sessions.turn import Repeated, Turn, TurnResult
from pararnn_server.sessions.writer import StoreWriter

from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.state_layout import state_bytes, state_parts
from pararnn_core.state import StateSnapshot
from tests.fixtures import tiny_config
from tests.server.metrics_fixtures import new_metrics

T = TypeVar("T")
CONFIG = tiny_config()
ADA, BOB, ANYBODY = Owner("ada"), Owner("bob"), Owner("")
SIZE = state_bytes(CONFIG)


class Clock:
    """A clock that moves only when a test sets it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class AtOnce(StoreWriter):
    """A store thread that runs its work in the caller's thread."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._lock = RLock()

    def _put(self, job: Any) -> None:
        with self._lock:
            self._sort_in(job)
            while self._is_busy:
                self._work()

    def start(self) -> None:
        pass

    def close(self) -> None:
        self._ledger.store.close()


@dataclass(frozen=True)
class Stored:
    """The contents of a store for a session."""

    record: SessionRecord
    snapshot: StateSnapshot
    token_ids: array[int]

    @property
    def pending_ids(self) -> tuple[int, ...]:
        return self.record.pending_ids


class Sessions(SessionManager):
    """A manager whose answers are waited for."""

    def __init__(self, ledger: Ledger, writer: StoreWriter | None = None) -> None:
        super().__init__(ledger, writer)
        self.ledger = ledger

    def now(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        future: Future[T] = self.ask(function, *args, **kwargs)
        return future.result(30)

    def create(
        self,
        owner: Owner = ANYBODY,
        metadata: Mapping[str, str] | None = None,
        ttl_seconds: float | None = None,
    ) -> SessionInfo:
        return self.now(directory.create, owner, metadata, ttl_seconds)

    def get(self, session_id: str, owner: Owner = ANYBODY) -> SessionInfo:
        return self.now(directory.get, session_id, owner)

    def details(self, session_id: str, owner: Owner = ANYBODY) -> SessionDetails:
        return self.now(directory.details, session_id, owner)

    def history(self, session_id: str, owner: Owner = ANYBODY) -> list[TurnInfo]:
        return list(self.details(session_id, owner).turns)

    def page(self, owner: Owner = ANYBODY, limit: int = 20, after: str = "") -> SessionPage:
        return self.now(directory.page, owner, limit, after)

    def delete(self, session_id: str, owner: Owner = ANYBODY) -> str | None:
        return self.now(directory.delete, session_id, owner)

    def running_request(self, session_id: str, owner: Owner = ANYBODY) -> str | None:
        return self.now(turns.running_request, session_id, owner)

    def begin(
        self,
        session_id: str,
        owner: Owner = ANYBODY,
        request_id: str = "r",
        expected_turn: int | None = None,
        idempotency_key: IdempotencyKey | None = None,
    ) -> Turn | Repeated:
        return self.now(turns.begin_turn, session_id, owner, request_id, expected_turn, idempotency_key)

    def begin_turn(self, *args: Any, **kwargs: Any) -> Turn:
        turn = self.begin(*args, **kwargs)
        assert isinstance(turn, Turn)
        return turn

    def keep(self, turn: Turn, result: TurnResult) -> SessionInfo:
        """Commit; raise the error that the client would receive."""
        outcomes: list[SessionInfo | ServerError] = []
        ended = Event()

        def done(outcome: SessionInfo | ServerError) -> None:
            outcomes.append(outcome)
            ended.set()

        self.commit(turn, result, done)
        assert ended.wait(30)
        [outcome] = outcomes
        if isinstance(outcome, ServerError):
            raise outcome
        return outcome

    def say(self, session_id: str, owner: Owner = ANYBODY, *token_ids: int, fill: int = 1) -> SessionInfo:
        """A turn of these ids."""
        return self.keep(self.begin_turn(session_id, owner), result(list(token_ids), fill=fill))

    def stored(self, session_id: str) -> Stored:
        """Straight from the store."""

        def read(ledger: Ledger) -> Stored:
            head = ledger.store.load(session_id)
            assert head is not None
            record = decode_record(head.head, session_id)
            held = ledger.find(session_id, decode_owner(head.owner))
            ids = read_log(
                ledger.store.scan(session_id, LOG), record.log_start, record.num_tokens, record.owner
            )
            return Stored(record, ledger.saved_state(held, record.turn).snapshot, ids)

        return self.now(read)

    def token_ids(self, session_id: str) -> list[int]:
        return self.stored(session_id).token_ids.tolist()


def kind_of(config: ModelConfig = CONFIG, fingerprint: str = "tiny") -> ModelKind:
    return model_kind("tiny", config, state_parts(config), fingerprint)


def build_sessions(
    store: SessionStore | None = None,
    kind: ModelKind | None = None,
    *,
    clock: Clock | None = None,
    threaded: bool = False,
    metrics: Metrics | None = None,
    **policy: int,
) -> Sessions:
    """threaded: with a store's thread of its own, started."""
    ledger = Ledger(
        store or MemoryStore(),
        kind or kind_of(),
        SessionPolicy(**policy),
        metrics or new_metrics(),
        clock or Clock(),
    )
    sessions = Sessions(ledger, None if threaded else AtOnce(ledger))
    sessions.start()
    return sessions


def snapshot_of(fill: int, config: ModelConfig = CONFIG) -> StateSnapshot:
    """All bytes the same."""
    size = state_bytes(config)
    return StateSnapshot(state_parts(config), torch.full((size,), fill, dtype=torch.uint8))


def result(token_ids: list[int], pending: tuple[int, ...] = (), fill: int = 1, **over: Any) -> TurnResult:
    return TurnResult(token_ids, snapshot_of(fill), pending, len(token_ids), 0, **over)
