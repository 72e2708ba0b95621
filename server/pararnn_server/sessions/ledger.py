"""The ledger of all sessions in the store: access by owner, one writer at a time, whole changes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from math import ceil

from pararnn_core.state import StateSnapshot
from pararnn_server.access.owner import Owner
from pararnn_server.errors import Conflict, Expired, NotFound, StoreFailed, TooManyRequests
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.metrics.tiers import Tier, TierTotal
from pararnn_server.sessions.changes import SessionChanges
from pararnn_server.sessions.checksum import add_checksum, corrupt, verify_checksum
from pararnn_server.sessions.clock import SteadyClock
from pararnn_server.sessions.host_states import HostStates
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.names import LOG, place_of, state_name
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.quota import StoreQuota
from pararnn_server.sessions.record import SessionRecord, decode_record
from pararnn_server.sessions.saved_state import SavedState, decode_saved_state
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.stores.store import Change, LeaseHeld, SessionStore, StoredHead, named_in
from pararnn_server.sessions.token_log import check_log
from pararnn_server.sessions.turn import Turn

logger = logging.getLogger(__name__)

TOMBSTONE_SECONDS = 7 * 86_400.0
EXPIRED_AT_ONCE = 32
# A caller may send an id of any length; no id of this server is longer.
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class LoadedSession:
    """A session as it was read.

    fence: of the lease under which it may be written, 0 without leases.
    """

    session_id: str
    version: int
    record: SessionRecord
    fence: int = 0


class Ledger:
    """Access to sessions. It and every function that takes it run on the store's thread only.

    Methods with a session and its owner raise NotFound for an unknown or foreign id, Expired for an owner's
    own expired one, and StoreFailed if the store fails.
    """

    def __init__(
        self,
        store: SessionStore,
        kind: ModelKind,
        policy: SessionPolicy,
        metrics: Metrics,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.store = store
        self.kind = kind
        self.policy = policy
        self.metrics = metrics
        # A jump of the system clock must end no session.
        self.clock = clock or SteadyClock()
        self.changes = SessionChanges()
        self.host = HostStates(policy.host_state_bytes, self.changes.note)
        self.quota = StoreQuota(store, policy.max_bytes)
        self.turns: dict[str, Turn] = {}
        # Fences by session or work that only this server may write to or do, until it is released.
        self.claims: dict[str, int] = {}
        self._cannot_end: set[str] = set()

    def of_model(self, kind: ModelKind, metrics: Metrics) -> Ledger:
        """Return the ledger of another model over the same store. All but kind and metrics is shared."""
        # Shallow, so that turns, claims and quota are the same objects for all models.
        ledger = copy(self)
        ledger.kind, ledger.metrics = kind, metrics
        return ledger

    def find(self, session_id: str, owner: Owner) -> LoadedSession:
        """Return the session at its last commit."""
        return decode_session(self.stored(session_id, owner))

    def stored(self, session_id: str, owner: Owner) -> StoredHead:
        """Return the stored head, undecoded: a damaged one is no error."""
        now = self.clock()
        stored = self.store.load(session_id)
        if stored is not None and stored.owner == owner.encode():
            # The sweep may be late; to its owner a session ends on time.
            is_over = stored.expires_at is not None and stored.expires_at <= now
            # A session with a writer does not expire under it.
            if not is_over or session_id in self.claims or not self._expire([session_id], now):
                return stored
        if self.store.expired_owner(session_id, now) == owner.encode():
            raise Expired("the session has expired; create a new one", param="session_id")
        raise NotFound(
            f"There is no session {session_id[:_SHOWN]!r}: it was deleted, has expired, or never existed.",
            param="session_id",
        )

    def end_expired(self, heads: Sequence[StoredHead]) -> set[str]:
        """End expired sessions that have no writer, and return their ids."""
        now = self.clock()
        over = [head.session_id for head in heads if head.expires_at is not None and head.expires_at <= now]
        return set(self._expire([session_id for session_id in over if session_id not in self.claims], now))

    @contextmanager
    def writing(
        self, session_id: str, owner: Owner, expected_turn: int | None = None
    ) -> Iterator[LoadedSession]:
        """Hold the one right to write. Raises Conflict if another request has it, or for another turn."""
        session = self.claim(session_id, owner, expected_turn)
        try:
            yield session
        finally:
            self.release(session_id, session.fence)

    def claim(self, session_id: str, owner: Owner, expected_turn: int | None = None) -> LoadedSession:
        """Take the right to write, as `writing` does, until `release`."""
        session = self.find(session_id, owner)
        if session_id in self.claims:
            raise Conflict("the session is busy with another request", param="session_id")
        if self.store.lease_seconds is not None:
            session = self._claim_from_others(session_id, owner)
        self.claims[session_id] = session.fence
        try:
            self.check_turn(session, expected_turn)
        except Conflict:
            self.release(session_id, session.fence)
            raise
        return session

    def release(self, session_id: str, fence: int) -> None:
        """Give the right to write back."""
        # If the store does not answer, the lease ends by itself.
        self.claims.pop(session_id, None)
        self._release_lease(session_id, fence)

    def begin_work(self, name: str) -> bool:
        """Claim work that has no session yet. Return False if this server or another has claimed it."""
        if name in self.claims:
            return False
        try:
            self.claims[name] = self.store.claim(name)
        except LeaseHeld:
            return False
        return True

    def end_work(self, name: str) -> None:
        """End claimed work; harmless if it was not claimed here."""
        fence = self.claims.pop(name, None)
        if fence is not None:
            self._release_lease(name, fence)

    def _release_lease(self, name: str, fence: int) -> None:
        try:
            self.store.release(name, fence)
        except StoreFailed as error:
            logger.warning("a lease could not be given back: %s", error)

    def check_turn(self, session: LoadedSession, expected_turn: int | None) -> None:
        """Raise Conflict if the session is not at the turn that the client expects."""
        if expected_turn is not None and expected_turn != session.record.turn:
            message = f"the session is at turn {session.record.turn}, not {expected_turn}"
            raise Conflict(message, param="expected_turn", code="turn_conflict")

    def check_model(self, record: SessionRecord) -> None:
        """Raise Conflict if this model cannot resume from the session's state."""
        if record.fingerprint != self.kind.fingerprint:
            message = f"the session belongs to another model, {record.model!r} as it was then"
            raise Conflict(message, param="session_id", code="model_changed")
        if record.state_bytes != self.kind.state_bytes:
            message = (
                "the session belongs to this model on another device: its state is kept with activations in"
                f" another type ({record.state_bytes} bytes, here {self.kind.state_bytes}). Set"
                " activation_dtype in the checkpoint's config.json to resume sessions of both"
            )
            raise Conflict(message, param="session_id", code="model_changed")

    def snapshot(self, session: LoadedSession) -> StateSnapshot:
        """Return the state at the last commit, from memory if it is there. Conflict for another model."""
        self.check_model(session.record)
        snapshot = self.host.get(session.session_id, session.version)
        # An empty session has no state in the store.
        if snapshot is None and not session.record.turn:
            return StateSnapshot.empty(self.kind.parts)
        if snapshot is None:
            began = time.perf_counter()
            snapshot = self.saved_state(session, session.record.turn).snapshot
            if self.store.tier == "store":
                self.keep(session, snapshot)
                self.metrics.moved("store", "host", time.perf_counter() - began)
        return snapshot

    def saved_state(self, session: LoadedSession, turn: int) -> SavedState:
        """Return the state after one of the kept turns."""
        if not turn:
            return SavedState(0, 0, (), self.kind.build, False, StateSnapshot.empty(self.kind.parts))
        name = state_name(turn)
        place = place_of(session.session_id, name)
        return decode_saved_state(self.item(session, name), self.kind.parts, place)

    def prepare_links(self, session_id: str, owner: Owner) -> Steps[None]:
        """Prepare the session's log for links. Only logs of the first version take any time."""
        self.stored(session_id, owner)
        while self.store.share(session_id, LOG):
            yield

    def log_sizes(self, session: LoadedSession) -> Mapping[str, int]:
        """Return names and sizes of the log's pieces. Raises StoreFailed if it is not whole."""
        sizes = self.store.names(session.session_id, LOG)
        check_log(sizes, session.record.log_start, session.record.num_tokens)
        return sizes

    def state_for(self, session: LoadedSession, session_id: str) -> dict[str, bytes]:
        """Return the state of the last commit as an item of another session; none before the first turn."""
        if not session.record.turn:
            return {}
        name = state_name(session.record.turn)
        body = verify_checksum(self.item(session, name), "a state", place_of(session.session_id, name))
        # The checksum covers the place, so a copy elsewhere needs its own.
        return {name: add_checksum(body, place=place_of(session_id, name))}

    def item(self, session: LoadedSession, name: str) -> bytes:
        """Return an item. Raises StoreFailed if it is missing."""
        data = self.store.read(session.session_id, name)
        if data is None:
            raise corrupt(f"{name!r} of a session is missing")
        return data

    def change(
        self,
        session: LoadedSession,
        record: SessionRecord,
        puts: Mapping[str, bytes] | None = None,
        removes: Sequence[str] = (),
        links: Mapping[str, tuple[str, str]] | None = None,
        alias: str | None = None,
    ) -> Change:
        """Return the change from the session to `record`."""
        # Pieces of the log are shared, so that forks can link to them.
        items = puts or {}
        return Change(
            session_id=session.session_id,
            owner=record.owner.encode(),
            base_version=session.version,
            head=record.encode(session.session_id),
            expires_at=record.expires_at,
            puts={name: data for name, data in items.items() if not name.startswith(LOG)},
            shares={name: data for name, data in items.items() if name.startswith(LOG)},
            removes=removes,
            fence=session.fence,
            links=links or {},
            alias=alias,
        )

    def write(
        self,
        session: LoadedSession,
        record: SessionRecord,
        puts: Mapping[str, bytes] | None = None,
        removes: Sequence[str] = (),
        snapshot: StateSnapshot | None = None,
        links: Mapping[str, tuple[str, str]] | None = None,
    ) -> SessionInfo:
        """Commit a change. Raises Conflict if the session was changed meanwhile.

        snapshot: the session's new state, None if that stays.
        """
        known = snapshot or self.host.get(session.session_id, session.version)
        info = self._commit(session, self.change(session, record, puts, removes, links), record, known)
        if info is None:
            raise self.overtaken(session.session_id)
        return info

    def overtaken(self, session_id: str) -> Conflict:
        """Return the error for a session that was changed since it was read."""
        try:
            is_gone = self.store.load(session_id) is None
        except StoreFailed:
            is_gone = False
        if is_gone:
            message = "the session was deleted meanwhile; nothing of this is kept"
            return Conflict(message, param="session_id", code="session_deleted")
        message = "the session was changed by another server meanwhile; nothing of this is kept"
        return Conflict(message, param="session_id", code="lease_lost")

    def add(
        self,
        session_id: str,
        record: SessionRecord,
        puts: Mapping[str, bytes],
        snapshot: StateSnapshot | None,
        *,
        links: Mapping[str, tuple[str, str]] | None = None,
        alias: str | None = None,
    ) -> SessionInfo | None:
        """Commit a new session; None if its alias is in use. Raises TooManyRequests for too many."""
        limit = self.policy.max_sessions
        if self.quota.usage(record.owner.key).sessions >= limit:
            message = f"this key may keep {limit} sessions and responses; delete some"
            raise TooManyRequests(message, code="quota")
        session = LoadedSession(session_id, 0, record)
        change = self.change(session, record, puts, links=links, alias=alias)
        return self._commit(session, change, record, snapshot)

    def _commit(
        self, session: LoadedSession, change: Change, record: SessionRecord, snapshot: StateSnapshot | None
    ) -> SessionInfo | None:
        if (
            not session.version
            or named_in(change)
            or len(str(record.metadata)) > len(str(session.record.metadata))
        ):
            # Other changes are of numbers, for which SESSION_BYTES has room.
            self.quota.admit(change)
        [stale] = self.store.commit([[change]])
        if stale is not None:
            return None
        written = LoadedSession(session.session_id, session.version + 1, record)
        if snapshot is not None:
            self.keep(written, snapshot)
        self.changes.note(session.session_id)
        return self.info(written)

    def new_record(
        self, owner: Owner, metadata: Mapping[str, str] | None, ttl_seconds: float | None
    ) -> SessionRecord:
        """Return the record of an empty session of this model."""
        now, kind = self.clock(), self.kind
        return SessionRecord(
            owner=owner,
            model=kind.name,
            fingerprint=kind.fingerprint,
            build=kind.build,
            state_bytes=kind.state_bytes,
            created_at=now,
            last_used_at=now,
            ttl_seconds=ttl_seconds,
            metadata=dict(metadata or {}),
        )

    def used(self, record: SessionRecord) -> SessionRecord:
        """Return the record with the time of last use set to now."""
        return replace(record, last_used_at=self.clock())

    def info(self, session: LoadedSession) -> SessionInfo:
        """Return the session as its owner may see it."""
        return session.record.info(session.session_id, self.tier(session), self.kind.build)

    def tier(self, session: LoadedSession) -> Tier:
        """Return the nearest tier that has the state."""
        if session.session_id in self.turns:
            return "device"
        return "host" if session.session_id in self.host else self.store.tier

    def totals(self, owner: Owner | None = None) -> Mapping[Tier, TierTotal]:
        """Return the totals of the sessions of one owner, or of all."""
        running = [turn for turn in self.turns.values() if owner is None or turn.record.owner == owner]
        waiting = sum(turn.session_id not in self.host for turn in running)
        usage = self.store.usage(None if owner is None else owner.encode())
        busy, waiting_here = len(running), self.host.count(owner)
        if self.store.tier == "host":
            host = TierTotal(usage.sessions - busy, usage.nbytes)
            stored = TierTotal(0, 0)
        else:
            host = TierTotal(waiting_here - (busy - waiting), self.host.owned_bytes(owner))
            stored = TierTotal(usage.sessions - waiting_here - waiting, usage.nbytes)
        device = TierTotal(busy, sum(turn.record.state_bytes for turn in running))
        return {"device": device, "host": host, "store": stored}

    def can_pin(self, owner: Owner) -> bool:
        """Return True if one more state of the owner's key may stay in memory for good."""
        return self.store.tier == "host" or self.host.can_pin(owner, self.kind.state_bytes)

    def renew_leases(self) -> None:
        """Prolong the leases of all writes in progress here."""
        if self.store.lease_seconds is not None and self.claims:
            self.store.renew(self.claims)

    def turns_to_end(self) -> list[tuple[str, bool]]:
        """Requests whose turns another server has asked to end (True), or overtaken or deleted (False)."""
        if self.store.lease_seconds is None or not self.turns:
            return []
        asked = self.store.asked_to_end({name: turn.fence for name, turn in self.turns.items()})
        return [(self.turns[name].request_id, is_asked) for name, is_asked in asked.items()]

    def sweep(self) -> Steps[None]:
        """End expired sessions, some at a time. A session that cannot be ended holds up no other."""
        now, stayed = self.clock(), 0
        # Sessions that cannot end yet stay due: `skip` passes them.
        while due := self.store.due(now, stayed):
            for start in range(0, len(due), EXPIRED_AT_ONCE):
                some = due[start : start + EXPIRED_AT_ONCE]
                ended = self._expire([one for one in some if one not in self.claims], now)
                stayed += len(some) - len(ended)
                yield

    def _claim_from_others(self, session_id: str, owner: Owner) -> LoadedSession:
        """Take the lease and read the session again."""
        # Another server may have written since it was read.
        try:
            fence = self.store.claim(session_id)
        except LeaseHeld as session:
            wait = {"retry-after": str(max(1, ceil(session.retry_after)))}
            message = "the session is busy on another server"
            raise Conflict(message, param="session_id", headers=wait) from None
        try:
            return replace(self.find(session_id, owner), fence=fence)
        except BaseException:
            self._release_lease(session_id, fence)
            raise

    def keep(self, session: LoadedSession, snapshot: StateSnapshot) -> None:
        """Keep a copy of the state in host memory."""
        # A store in memory is that tier itself and needs no second copy.
        if self.store.tier == "store":
            record = session.record
            self.host.put(
                session.session_id,
                record.owner,
                session.version,
                snapshot,
                pinned=record.pinned,
                on_demotion=self._demoted,
            )

    def _demoted(self) -> None:
        self.metrics.state_moves.labels("host", "store").inc()

    def _expire(self, session_ids: Sequence[str], now: float) -> list[str]:
        """End sessions and return the ids of those that ended. A failure is of one, and logged once."""
        try:
            ended = self.store.expire(session_ids, now, now + TOMBSTONE_SECONDS) if session_ids else []
        except StoreFailed as error:
            if len(session_ids) > 1:
                return [one for session_id in session_ids for one in self._expire([session_id], now)]
            # The sweep comes every second and would log it each time.
            if session_ids[0] not in self._cannot_end:
                logger.warning("the expired session %s cannot be removed: %s", session_ids[0], error)
                self._cannot_end.add(session_ids[0])
            return []
        for session_id in ended:
            self.host.drop(session_id)
            self.quota.release(session_id)
            self.changes.note(session_id)
        return ended


def new_session_id() -> str:
    """Return a new id of 128 random bits."""
    return f"sess_{secrets.token_hex(16)}"


def decode_session(stored: StoredHead) -> LoadedSession:
    """Decode a session's head. Raises StoreFailed for a damaged one."""
    record = decode_record(stored.head, stored.session_id)
    # The record is under a checksum, the store's own column is not.
    if record.owner.encode() != stored.owner:
        raise corrupt("a session is kept under another owner")
    return LoadedSession(stored.session_id, stored.version, record)
