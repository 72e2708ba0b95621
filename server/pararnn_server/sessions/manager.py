"""Sessions of every key: who may see them, one writer at a time, turns that happen wholly or not at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import RLock

from pararnn_core.config import ModelConfig
from pararnn_core.state import state_bytes
from pararnn_server.errors import Conflict, Expired, NotFound, TooManyRequests
from pararnn_server.sessions.record import HISTORY_TURNS, SessionRecord, empty_snapshot
from pararnn_server.sessions.session import SessionInfo, SessionPage, Tier, TierTotal, TurnInfo
from pararnn_server.sessions.store import SessionStore
from pararnn_server.sessions.turn import Turn, TurnResult

TOMBSTONE_SECONDS = 7 * 86_400.0


class SessionManager:
    """Any thread may call it; no call waits for a turn.

    Every method that takes a session and its owner raises NotFound for an unknown or foreign id and Expired
    for an owner's own that has passed.
    """

    def __init__(
        self,
        store: SessionStore,
        config: ModelConfig,
        model: str,
        max_sessions: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._state_bytes = state_bytes(config)
        self._model = model
        self._max_sessions = max_sessions
        self._clock = clock
        self._lock = RLock()
        self._turns: dict[str, Turn] = {}

    def create(
        self, owner: str, metadata: Mapping[str, str] | None = None, ttl_seconds: float | None = None
    ) -> SessionInfo:
        """An empty session; it already holds its state's bytes. TooManyRequests when there are too many."""
        snapshot = empty_snapshot(self._config)
        with self._lock:
            now = self._sweep()
            if self._store.count() >= self._max_sessions:
                raise TooManyRequests(
                    f"the server keeps at most {self._max_sessions} sessions; delete some", code="quota"
                )
            record = SessionRecord(
                session_id=f"sess_{secrets.token_hex(16)}",
                owner=owner,
                model=self._model,
                created_at=now,
                last_used_at=now,
                ttl_seconds=ttl_seconds,
                metadata=dict(metadata or {}),
                snapshot=snapshot,
            )
            self._store.commit(record)
            return self._info(record)

    def get(self, session_id: str, owner: str) -> SessionInfo:
        """The last committed turn."""
        with self._lock:
            return self._info(self._find(session_id, owner))

    def history(self, session_id: str, owner: str) -> tuple[TurnInfo, ...]:
        """The last 256 committed turns, oldest first."""
        with self._lock:
            return self._find(session_id, owner).history

    def page(self, owner: str, limit: int = 20, after: str = "") -> SessionPage:
        """Up to `limit` sessions with an id above `after`: in order of ids, sessions that go move no page."""
        with self._lock:
            self._sweep()
            records = self._store.page(owner, after, limit + 1)
            infos = [self._info(record) for record in records[:limit]]
            return SessionPage(infos, len(records) > limit, self._totals(owner))

    def totals(self) -> Mapping[Tier, TierTotal]:
        """What the sessions of all owners hold."""
        with self._lock:
            self._sweep()
            return self._totals(None)

    def delete(self, session_id: str, owner: str) -> str | None:
        """Forgets the session; returns the request whose turn was under way and can no longer commit."""
        with self._lock:
            self._find(session_id, owner)
            self._store.delete(session_id)
            turn = self._turns.pop(session_id, None)
            return None if turn is None else turn.request_id

    def running_request(self, session_id: str, owner: str) -> str | None:
        """The request whose turn is under way."""
        with self._lock:
            self._find(session_id, owner)
            turn = self._turns.get(session_id)
            return None if turn is None else turn.request_id

    def begin_turn(
        self, session_id: str, owner: str, request_id: str, expected_turn: int | None = None
    ) -> Turn:
        """Takes the right to write. Conflict when another request has it or the turn is not the expected."""
        with self._lock:
            record = self._find(session_id, owner)
            if session_id in self._turns:
                raise Conflict("the session is busy with another request", param="session_id")
            if expected_turn is not None and expected_turn != record.turn:
                raise Conflict(
                    f"the session is at turn {record.turn}, not {expected_turn}",
                    param="expected_turn",
                    code="turn_conflict",
                )
            turn = Turn(
                session_id=session_id,
                owner=owner,
                request_id=request_id,
                snapshot=record.snapshot,
                pending_ids=record.pending_ids,
                num_tokens=record.num_tokens,
                started_at=self._clock(),
            )
            self._turns[session_id] = turn
            return turn

    def commit(self, turn: Turn, result: TurnResult) -> SessionInfo:
        """Ends the turn and keeps it. NotFound if the session was deleted meanwhile."""
        with self._lock:
            if self._turns.get(turn.session_id) is not turn:
                raise NotFound("the session was deleted while its reply ran", param="session_id")
            record = self._store.load(turn.session_id)
            if record is None:
                raise NotFound("the session is gone from the store", param="session_id")
            record = _after(record, turn, result, self._clock())
            self._store.commit(record, result.token_ids)
            del self._turns[turn.session_id]
            return self._info(record)

    def abandon(self, turn: Turn) -> None:
        """Ends the turn and keeps nothing of it; the session is as the last commit left it."""
        with self._lock:
            if self._turns.get(turn.session_id) is not turn:
                return
            del self._turns[turn.session_id]
            record, now = self._store.load(turn.session_id), self._clock()
            if record is not None and self._is_over(record, now):
                self._store.expire(turn.session_id, now + TOMBSTONE_SECONDS)

    def _find(self, session_id: str, owner: str) -> SessionRecord:
        now = self._sweep()
        record = self._store.load(session_id)
        if record is not None and record.owner == owner:
            if self._is_over(record, now):
                self._store.expire(session_id, now + TOMBSTONE_SECONDS)
            else:
                return record
        if self._store.expired_owner(session_id, now) == owner:
            raise Expired("the session has expired; create a new one", param="session_id")
        raise NotFound("no such session", param="session_id")

    def _sweep(self) -> float:
        """Ends what has expired; returns the time."""
        now = self._clock()
        for session_id in self._store.due(now):
            if session_id not in self._turns:
                self._store.expire(session_id, now + TOMBSTONE_SECONDS)
        return now

    def _is_over(self, record: SessionRecord, now: float) -> bool:
        running = record.session_id in self._turns
        return not running and record.expires_at is not None and record.expires_at <= now

    def _info(self, record: SessionRecord) -> SessionInfo:
        return record.info("device" if record.session_id in self._turns else "host")

    def _totals(self, owner: str | None) -> Mapping[Tier, TierTotal]:
        busy = sum(owner is None or turn.owner == owner for turn in self._turns.values())
        count, size = self._store.count(owner), self._state_bytes
        return {
            "device": TierTotal(busy, busy * size),
            "host": TierTotal(count - busy, count * size),
            "store": TierTotal(0, 0),
        }


def _after(record: SessionRecord, turn: Turn, result: TurnResult, now: float) -> SessionRecord:
    numbers = TurnInfo(
        turn=record.turn + 1,
        created_at=int(now),
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        num_tokens=record.num_tokens + len(result.token_ids),
        duration_seconds=now - turn.started_at,
    )
    return replace(
        record,
        last_used_at=now,
        snapshot=result.snapshot,
        pending_ids=result.pending_ids,
        num_tokens=numbers.num_tokens,
        turn=numbers.turn,
        history=(*record.history, numbers)[-HISTORY_TURNS:],
    )
