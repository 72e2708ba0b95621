"""All rows of a key stay within its limit and one request, for any calls in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pararnn_server.access.owner import Owner, kept_owners
from pararnn_server.errors import ServerError, TooManyRequests
from pararnn_server.http.schemas.response_items import Item
from pararnn_server.responses import records
from pararnn_server.sessions import branches
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.redis_store import RedisStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import SessionStore
from pararnn_server.sessions.turn import Turn

from tests.server.session_fixtures import ADA, BOB, SIZE, Clock, Sessions, build_sessions, result

LIMIT = 12 * SIZE
ONE_REQUEST = 6 * SIZE
"""More than any single call below adds: a state, a log of 500 ids, a document, a copy of all turns."""
IDS = [7] * 500
TEXT = "t" * 800


@contextmanager
def opened(kind: str, folder: Path, redis_url: Callable[[], str]) -> Iterator[SessionStore]:
    if kind == "redis":
        with redis.Redis.from_url(redis_url()) as client:
            client.flushall()
        store: SessionStore = RedisStore(redis_url())
    else:
        path = folder / f"{len(list(folder.iterdir()))}.sqlite"
        store = MemoryStore() if kind == "memory" else SqliteStore(path)
    if isinstance(store, SqliteStore):
        store._db.execute("PRAGMA synchronous = OFF")
    yield store
    store.close()


class Script:
    """Calls by name. Each takes a number, by which it picks a session or a turn that runs."""

    def __init__(self, manager: Sessions, owner: Owner) -> None:
        self.manager, self.owner = manager, owner
        self.ids: list[str] = []
        self.running: list[Turn] = []
        self.responses: list[str] = []
        self.number = 0

    def create(self, pick: int) -> None:
        metadata = {"k": TEXT} if pick % 2 else None
        self.ids.append(self.manager.create(self.owner, metadata, ttl_seconds=50.0 + pick).id)

    def begin(self, pick: int) -> None:
        self.running.append(self.manager.begin_turn(self.id(pick), self.owner))

    def commit(self, pick: int) -> None:
        turn = self.running.pop(pick % len(self.running))
        self.manager.keep(turn, result(IDS[: 50 * pick], reply=TEXT.encode() if pick % 2 else None))

    def abandon(self, pick: int) -> None:
        self.manager.abandon(self.running.pop(pick % len(self.running)))

    def snapshot(self, pick: int) -> None:
        self.manager.now(branches.save_snapshot, self.id(pick), self.owner, f"s{pick}")

    def forget_snapshot(self, pick: int) -> None:
        self.manager.now(branches.delete_snapshot, self.id(pick), self.owner, f"s{pick}")

    def fork(self, pick: int) -> None:
        self.ids.append(self.manager.now(branches.fork, self.id(pick), self.owner).id)

    def rollback(self, pick: int) -> None:
        self.manager.now(branches.rollback, self.id(pick), self.owner, 1 + pick % 2)

    def put_state(self, pick: int) -> None:
        file = self.manager.now(transfer.export, self.id(pick), self.owner)
        self.manager.now(transfer.import_into, self.id(pick + 1), self.owner, file)

    def patch(self, pick: int) -> None:
        metadata = {"k": TEXT} if pick % 2 else {}
        self.manager.now(directory.update, self.id(pick), self.owner, metadata=metadata, ttl_seconds=60.0)

    def respond(self, pick: int) -> None:
        owner, self.number = self.owner.responses, self.number + 1
        name = f"resp_{self.owner}_{self.number}"
        previous = self.responses[pick % len(self.responses)] if self.responses else None
        self.manager.now(records.begin, name, owner, 100.0, previous)
        try:
            self.manager.keep(self.manager.begin_turn(name, owner), result(IDS[: 20 * pick]))
            given = (Item("m", "user", TEXT),)
            body = {"output": [], "previous_response_id": previous, "text": TEXT}
            self.manager.now(records.keep, name, owner, body, given, None, 70.0)
        except ServerError:
            self.manager.delete(name, owner)
            raise
        self.responses.append(name)

    def delete(self, pick: int) -> None:
        self.manager.delete(self.ids.pop(pick % len(self.ids)), self.owner)

    def delete_response(self, pick: int) -> None:
        name = self.responses.pop(pick % len(self.responses))
        self.manager.now(records.delete, name, self.owner.responses)

    def wait(self, pick: int) -> None:
        clock = self.manager.ledger.clock
        assert isinstance(clock, Clock)
        clock.now += 10 * pick
        self.manager.now(Ledger.sweep)

    def id(self, pick: int) -> str:
        return self.ids[pick % len(self.ids)]


CALLS = [name for name, call in vars(Script).items() if callable(call) and name not in ("__init__", "id")]


@pytest.mark.parametrize(("kind", "examples"), [("memory", 12), ("sqlite", 6), ("redis", 4)])
def test_all_rows_of_a_key_stay_within_its_limit_and_one_request(
    kind: str, examples: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(CALLS), st.integers(0, 9)), min_size=30, max_size=60))
    def check(calls: list[tuple[str, int]]) -> None:
        with opened(kind, tmp_path, lambda: request.getfixturevalue("redis_url")) as store:
            manager = build_sessions(store, clock=Clock(), max_bytes=LIMIT)
            script, other = Script(manager, ADA), Script(manager, BOB)
            other.create(1)
            for name, pick in [("create", 1), ("create", 2), *calls]:
                with suppress(ServerError, ZeroDivisionError):
                    getattr(script, name)(pick)
                assert rows_of(store, ADA.key) <= LIMIT + ONE_REQUEST
            other.create(1)

    check()


def rows_of(store: SessionStore, key: str) -> int:
    """Bytes of what is there, and not of what the store says of it."""
    nbytes = 0
    for owner in (one.encode() for one in kept_owners(key)):
        for head in store.page(owner, "", 10_000):
            nbytes += len(head.session_id) + len(owner) + len(head.head)
            nbytes += sum(len(name) + len(data) for name, data in store.scan(head.session_id, "").items())
        nbytes += store.usage(owner).tombstones * 100
    return nbytes


@pytest.fixture
def full() -> Script:
    """A key that has reached its limit."""
    script = Script(build_sessions(clock=Clock(), max_bytes=LIMIT), ADA)
    with pytest.raises(TooManyRequests):
        for number in range(100):
            script.create(0)
            script.begin(number)
            script.commit(0)
    return script


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(TooManyRequests) as error:
        call()
    assert error.value.code == "quota"


def test_whatever_adds_rows_is_refused_at_the_limit(full: Script) -> None:
    for name in ("create", "snapshot", "fork", "respond"):
        refused(lambda name=name: getattr(full, name)(1))
    refused(lambda: full.begin(0))
    refused(lambda: full.manager.now(directory.update, full.id(0), ADA, metadata={"k": TEXT}))


def test_what_frees_bytes_or_changes_numbers_only_is_taken_at_the_limit(full: Script) -> None:
    full.manager.now(directory.update, full.id(0), ADA, ttl_seconds=5.0)
    full.manager.now(branches.rollback, full.id(0), ADA, 1)
    full.delete(1)
    full.create(0)


def test_turns_that_run_at_once_do_not_pass_the_limit_together() -> None:
    script = Script(build_sessions(clock=Clock(), max_bytes=LIMIT + (64 << 10)), ADA)
    for _ in range(8):
        script.create(0)
    begun = 0
    for number in range(8):
        with suppress(TooManyRequests):
            script.begin(number)
            begun += 1
    assert 1 <= begun < 8
    for _ in range(begun):
        script.commit(9)
    script.begin(7)


def test_old_tombstones_go_before_anything_is_refused() -> None:
    script = Script(build_sessions(clock=Clock(), max_bytes=LIMIT), ADA)
    for _ in range(200):
        script.create(0)
        script.wait(9)
    store = script.manager.ledger.store
    assert 0 < store.usage(ADA.encode()).tombstones < 200
    assert store.usage(ADA.encode()).kept_bytes <= LIMIT + ONE_REQUEST
