"""Any order of what clients do to sessions and responses: ids are given once, reads end, nothing leaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pararnn_server.errors import BadRequest, Expired, NotFound
from pararnn_server.responses import records
from pararnn_server.sessions import branches
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import SessionStore

from tests.server.response_fixtures import OWNER, again, begin, conversation, inputs, respond
from tests.server.session_fixtures import ADA, Clock, Sessions, build_sessions
from tests.server.sessions.stores.test_store_contract import empty_redis_store

TTL = 100.0
KEYS = st.sampled_from([None, "K1", "K2"])
NAMES = st.sampled_from(["a", "b"])
PICK = st.integers(0, 7)


@dataclass
class _Session:
    """The expected session. turns: its ids after each turn that can be undone, the last as it is now."""

    turns: list[list[int]]
    used_at: float
    snapshots: dict[str, list[int]] = field(default_factory=dict)
    forks: dict[str, str] = field(default_factory=dict)


@dataclass
class _Response:
    previous: str | None
    key: str | None
    made_at: float


class Lives(RuleBasedStateMachine):
    """A model of few sessions and responses of one key beside a store. Every call has a deadline of 30 s."""

    def __init__(self, store: SessionStore) -> None:
        super().__init__()
        self.clock = Clock()
        self.manager: Sessions = build_sessions(store, clock=self.clock, threaded=True)
        self.given: set[str] = set()
        self.sessions: dict[str, _Session] = {}
        self.responses: dict[str, _Response] = {}
        self.gone: set[str] = set()
        self.chains: dict[str, str | None] = {}
        self.numbers = count(1)

    def teardown(self) -> None:
        self.manager.close()

    def new(self, made: str) -> str:
        assert made not in self.given, "an id is given twice"
        self.given.add(made)
        return made

    def session(self, pick: int) -> tuple[str, _Session]:
        name = list(self.sessions)[pick % len(self.sessions)]
        return name, self.sessions[name]

    def wrote(self, name: str) -> None:
        self.sessions[name].used_at = self.clock.now

    @precondition(lambda self: len(self.sessions) < 6)
    @rule()
    def create(self) -> None:
        made = self.new(self.manager.create(ADA, ttl_seconds=TTL).id)
        self.sessions[made] = _Session([[]], self.clock.now)

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, length=st.integers(1, 3))
    def say(self, pick: int, length: int) -> None:
        name, session = self.session(pick)
        ids = [next(self.numbers) for _ in range(length)]
        self.manager.say(name, ADA, *ids, fill=ids[0] % 250)
        session.turns = [*session.turns, [*session.turns[-1], *ids]][-3:]
        self.wrote(name)

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, key=KEYS)
    def fork(self, pick: int, key: str | None) -> None:
        name, session = self.session(pick)
        child = self.manager.now(
            branches.fork, name, ADA, idempotency_key=None if key is None else IdempotencyKey(key, "d")
        ).id
        known = session.forks.get(key or "")
        if known in self.sessions:
            assert child == known
            return
        self.sessions[self.new(child)] = _Session([session.turns[-1]], self.clock.now)
        if key is not None:
            session.forks[key] = child

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, name=NAMES)
    def snapshot(self, pick: int, name: str) -> None:
        session_id, session = self.session(pick)
        self.manager.now(branches.save_snapshot, session_id, ADA, name)
        session.snapshots[name] = session.turns[-1]
        self.wrote(session_id)

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, name=NAMES)
    def forget_snapshot(self, pick: int, name: str) -> None:
        session_id, session = self.session(pick)
        if name in session.snapshots:
            self.manager.now(branches.delete_snapshot, session_id, ADA, name)
            del session.snapshots[name]
            self.wrote(session_id)

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, to=st.one_of(NAMES, st.integers(1, 2)))
    def rollback(self, pick: int, to: str | int) -> None:
        session_id, session = self.session(pick)
        if isinstance(to, int):
            is_possible = to < len(session.turns)
            turns = session.turns[:-to]
        else:
            is_possible = to in session.snapshots
            turns = [session.snapshots.get(to, [])]
        if not is_possible:
            with pytest.raises((BadRequest, NotFound)):
                self.manager.now(branches.rollback, session_id, ADA, to)
            return
        self.manager.now(branches.rollback, session_id, ADA, to)
        session.turns = turns
        self.wrote(session_id)

    @precondition(lambda self: 0 < len(self.sessions) < 6)
    @rule(pick=PICK)
    def export_and_import(self, pick: int) -> None:
        name, session = self.session(pick)
        file = self.manager.now(transfer.export, name, ADA, tokens=True)
        made = self.manager.now(transfer.import_new, ADA, file, TTL).id
        self.sessions[self.new(made)] = _Session([session.turns[-1]], self.clock.now)

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        name, _ = self.session(pick)
        self.manager.delete(name, ADA)
        del self.sessions[name]
        self.gone.add(name)

    @precondition(lambda self: len(self.responses) < 8)
    @rule(pick=PICK, key=KEYS, follows=st.booleans(), is_kept=st.booleans())
    def respond(self, pick: int, key: str | None, follows: bool, is_kept: bool) -> None:
        names = list(self.responses)
        previous = names[pick % len(names)] if follows and names else None
        if key is not None and (known := again(self.manager, key)) is not None:
            assert self.responses[known].key == key
            return
        if not is_kept:
            dropped = self.new(begin(self.manager, previous, key))
            self.manager.now(records.drop, dropped, OWNER)
            self.gone.add(dropped)
            return
        made = self.new(respond(self.manager, previous, key, ttl_seconds=TTL))
        self.responses[made] = _Response(previous, key, self.clock.now)
        self.chains[made] = previous

    @precondition(lambda self: self.responses)
    @rule(pick=PICK)
    def delete_response(self, pick: int) -> None:
        name = list(self.responses)[pick % len(self.responses)]
        self.manager.now(records.delete, name, OWNER)
        del self.responses[name]
        self.gone.add(name)

    @rule(seconds=st.sampled_from([10.0, 60.0]), sweeps=st.booleans())
    def time_passes(self, seconds: float, sweeps: bool) -> None:
        self.clock.now += seconds
        ends = self.clock.now - TTL
        over = [name for name, one in self.sessions.items() if one.used_at <= ends]
        over += [name for name, one in self.responses.items() if one.made_at <= ends]
        for name in over:
            self.sessions.pop(name, None)
            self.responses.pop(name, None)
        self.gone |= set(over)
        if sweeps:
            self.manager.now(Ledger.sweep)
            assert self.manager.ledger.store.usage().sessions == len(self.sessions) + len(self.responses)

    @invariant()
    def every_session_is_what_was_done_to_it(self) -> None:
        for name, session in self.sessions.items():
            assert self.manager.token_ids(name) == session.turns[-1]
            assert set(self.manager.details(name, ADA).snapshots) == set(session.snapshots)
        assert [info.id for info in self.manager.page(ADA).sessions if info.id not in self.gone] == sorted(
            self.sessions
        )

    @invariant()
    def every_conversation_is_as_long_as_it_is_there(self) -> None:
        for name in self.responses:
            chain: list[str] = []
            current: str | None = name
            while current is not None and current in self.responses:
                chain.insert(0, current)
                current = self.chains[current]
            said = [f"{way} {one}" for one in chain for way in ("in", "out")]
            assert inputs(self.manager, name) == said[:-1]
            if current is None:
                assert conversation(self.manager, name) == said
            else:
                with pytest.raises(BadRequest):
                    conversation(self.manager, name)

    @invariant()
    def a_key_finds_its_response_and_no_other(self) -> None:
        for key in ("K1", "K2"):
            alive = [name for name, one in self.responses.items() if one.key == key]
            assert [again(self.manager, key)] == (alive or [None])

    @invariant()
    def what_is_gone_stays_gone(self) -> None:
        for name in self.gone:
            with pytest.raises((NotFound, Expired)):
                if name.startswith("resp_"):
                    self.manager.now(records.load, name, OWNER)
                else:
                    self.manager.get(name, ADA)
        assert self.manager.ledger.claims == {}


def _lives(kind: str, request: pytest.FixtureRequest, folder: Path, **over: Any) -> None:
    paths = count()

    def store() -> SessionStore:
        if kind == "redis":
            return empty_redis_store(request.getfixturevalue("redis_url"))
        if kind == "memory":
            return MemoryStore()
        made = SqliteStore(folder / f"{next(paths)}.sqlite")
        # The disk is not what is tested here.
        made._db.execute("PRAGMA synchronous = OFF")
        return made

    checks = list(HealthCheck)
    run_state_machine_as_test(
        lambda: Lives(store()), settings=settings(deadline=None, suppress_health_check=checks, **over)
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_any_order_of_calls_leaves_what_it_should(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _lives(kind, request, tmp_path, max_examples=8, stateful_step_count=20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_any_long_order_of_calls_leaves_what_it_should(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _lives(kind, request, tmp_path, max_examples=500, stateful_step_count=60)
