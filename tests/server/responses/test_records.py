"""Stored responses: ids that are given once, walks that end, keys that outlive a server that died."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pararnn_server.errors import BadRequest, Conflict, Expired, NotFound, StoreFailed, TooLarge
from pararnn_server.responses import records
from pararnn_server.sessions import branches
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.redis_store import RedisStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import Change

from tests.server.response_fixtures import (
    OWNER,
    again,
    begin,
    body,
    conversation,
    idempotency_key,
    inputs,
    respond,
)
from tests.server.session_fixtures import ADA, Clock, Sessions, build_sessions, result
from tests.server.sessions.stores.test_store_contract import empty_redis_store

GOLDEN = Path(__file__).parents[2] / "golden" / "sessions_v1.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Sessions]:
    if request.param == "redis":
        made = build_sessions(empty_redis_store(request.getfixturevalue("redis_url")), clock=clock)
    elif request.param == "memory":
        made = build_sessions(MemoryStore(), clock=clock)
    else:
        made = build_sessions(SqliteStore(tmp_path / "s.sqlite"), clock=clock)
    yield made
    made.close()


def test_an_id_is_given_once_however_often_its_request_comes(manager: Sessions, clock: Clock) -> None:
    first = respond(manager, key="K1")
    second = respond(manager, first, key="K2")
    assert again(manager, "K1") == first
    manager.now(records.delete, first, OWNER)
    assert again(manager, "K1") is None
    third = respond(manager, second, key="K1")
    assert (again(manager, "K1"), again(manager, "K2")) == (third, second)
    assert len({first, second, third}) == 3
    assert inputs(manager, third) == [f"in {second}", f"out {second}", f"in {third}"]
    with pytest.raises(NotFound):
        manager.now(records.load, first, OWNER)
    clock.now += 2000
    assert again(manager, "K1") is None
    fourth = respond(manager, key="K1")
    assert fourth not in (first, second, third)
    with pytest.raises(Expired):
        manager.now(records.load, third, OWNER)


def test_a_fork_that_was_deleted_is_made_again_under_another_id(manager: Sessions) -> None:
    session, made = manager.create(ADA).id, IdempotencyKey("key", "d")
    child = manager.now(branches.fork, session, ADA, idempotency_key=made).id
    assert manager.now(branches.fork, session, ADA, idempotency_key=made).id == child
    manager.delete(child, ADA)
    other = manager.now(branches.fork, session, ADA, idempotency_key=made).id
    assert other != child
    with pytest.raises(NotFound):
        manager.get(child, ADA)


def test_of_two_requests_at_once_with_one_key_the_later_is_told_that_the_first_runs(
    manager: Sessions,
) -> None:
    first = begin(manager, key="K")
    for call in (lambda: again(manager, "K"), lambda: begin(manager, key="K")):
        with pytest.raises(Conflict) as conflict:
            call()
        assert (conflict.value.code, conflict.value.param) == ("session_busy", "Idempotency-Key")
    manager.now(records.drop, first, OWNER)
    assert again(manager, "K") is None
    assert manager.ledger.claims == {}
    respond(manager, key="K")


def test_what_a_server_that_died_left_unanswered_is_answered_at_once(tmp_path: Path) -> None:
    died = build_sessions(SqliteStore(tmp_path / "s.sqlite"))
    kept = respond(died, key="kept")
    begin(died, key="K")
    cut = begin(died, key="cut")
    died.keep(died.begin_turn(cut, OWNER), result([1]))
    died.close()
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"))
    for key in ("K", "cut"):
        assert again(manager, key) is None
        respond(manager, key=key)
    assert again(manager, "kept") == kept
    assert manager.ledger.store.usage().sessions == 3
    manager.close()


def test_where_servers_share_a_store_the_lease_says_who_is_at_it(redis_url: str) -> None:
    empty_redis_store(redis_url).close()
    here, there = (build_sessions(RedisStore(redis_url, 0.4)) for _ in range(2))
    first = begin(here, key="K")
    with pytest.raises(Conflict):
        again(there, "K")
    here.now(Ledger.renew_leases)
    here.now(records.drop, first, OWNER)
    assert again(there, "K") is None
    lost = begin(here, key="K")
    with pytest.raises(Conflict):
        begin(there, key="K")
    assert there.ledger.store._redis.delete(f"pararnn:l:{lost}/answer") == 1  # type: ignore[attr-defined]  # the kind of store is known here
    assert again(there, "K") is None
    respond(there, key="K")
    here.close()
    there.close()


def test_a_circle_that_an_old_file_holds_is_walked_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(GOLDEN, path)
    manager = build_sessions(SqliteStore(path))
    circle = "resp_676932f8c76aea17417c3810b188bb7c"
    found = manager.now(records.find_repeated, IdempotencyKey("K2", "d"), OWNER)
    assert found is not None
    assert found.body["id"] == circle
    assert inputs(manager, circle) == ["msg_i6", "msg_o6", "msg_i5"]
    with pytest.raises(BadRequest) as gone:
        conversation(manager, circle)
    assert gone.value.code == "history_gone"
    manager.close()


def test_a_conversation_is_followed_back_in_pieces_and_not_beyond_its_limit(
    manager: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain: list[str] = []
    for _ in range(40):
        chain.append(respond(manager, chain[-1] if chain else None))
    steps = records.conversation(manager.ledger, chain[-1], OWNER, 1 << 20)
    assert len(list(steps)) >= 40 // records.PIECE_RESPONSES
    assert conversation(manager, chain[-1]) == [f"{way} {one}" for one in chain for way in ("in", "out")]
    with pytest.raises(TooLarge):
        manager.now(records.inputs, chain[-1], OWNER, 1000)
    monkeypatch.setattr(records, "MAX_CHAIN", 20)
    with pytest.raises(TooLarge):
        conversation(manager, chain[-1])


def test_a_damaged_response_can_be_deleted(manager: Sessions) -> None:
    response = respond(manager, key="K")
    store = manager.ledger.store
    head = store.load(response)
    assert head is not None
    for version, (text, puts) in enumerate([(head.head, {"response": b"{}"}), (b"{}", {})], head.version):
        fence = store.claim(response)
        change = Change(response, OWNER.encode(), version, text, None, puts, fence=fence)
        assert store.commit([[change]]) == [None]
        store.release(response, fence)
        with pytest.raises(StoreFailed):
            manager.now(records.load, response, OWNER)
    manager.now(records.delete, response, OWNER)
    assert store.usage().sessions == 0
    assert again(manager, "K") is None
    with pytest.raises(NotFound):
        manager.now(records.delete, response, OWNER)


def test_the_body_of_a_response_is_what_it_was(manager: Sessions) -> None:
    response = respond(manager, key="K")
    assert manager.now(records.load, response, OWNER).body == body(response, None)
    made = idempotency_key("K")
    assert made is not None
    with pytest.raises(BadRequest) as reused:
        manager.now(records.find_repeated, replace(made, digest="another"), OWNER)
    assert reused.value.code == "idempotency_key_reused"
