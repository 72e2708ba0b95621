"""The contract of all stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pararnn_server.sessions.stores import memory_store, sqlite_store
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.redis_store import RedisStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import (
    ITEM_BYTES,
    LINKED_BYTES,
    SESSION_BYTES,
    TOMBSTONE_BYTES,
    Change,
    SessionStore,
    StaleWrite,
    StoredHead,
    StoreUsage,
)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "redis":
        made: SessionStore = empty_redis_store(request.getfixturevalue("redis_url"))
    else:
        made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "s.sqlite")
    yield made
    made.close()


def empty_redis_store(url: str) -> RedisStore:
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return RedisStore(url)


def change(
    session_id: str,
    version: int = 0,
    owner: str = "ada",
    expires_at: float | None = None,
    removes: tuple[str, ...] = (),
    **puts: bytes,
) -> Change:
    head = f"{session_id} {version + 1}".encode()
    items = {name.replace("_", "/"): data for name, data in puts.items()}
    return Change(session_id, owner, version, head, expires_at, items, removes)


def put(store: SessionStore, *changes: Change) -> None:
    assert store.commit([changes]) == [None]


def test_what_was_committed_is_there_with_the_next_version(store: SessionStore) -> None:
    put(store, change("s1", expires_at=5.0, state_1=b"one"))
    assert store.load("s1") == StoredHead("s1", "ada", 1, b"s1 1", 5.0)
    put(store, change("s1", 1, state_2=b"two", removes=("state/1",)))
    assert store.load("s1") == StoredHead("s1", "ada", 2, b"s1 2", None)
    assert (store.read("s1", "state/1"), store.read("s1", "state/2")) == (None, b"two")


def test_what_is_not_there_is_none(store: SessionStore) -> None:
    assert store.load("s1") is None
    assert store.read("s1", "state/1") is None
    assert store.scan("s1", "state/") == {}
    assert store.usage() == store.usage("ada") == StoreUsage(0, 0)
    store.delete("s1")
    assert store.expired_owner("s1", 0.0) is None


def test_items_are_scanned_in_order_of_names_and_only_with_the_prefix(store: SessionStore) -> None:
    put(store, change("s1", log_2=b"b", log_1=b"a", logs=b"no", state_1=b"no"))
    put(store, change("s2", log_0=b"other"))
    assert list(store.scan("s1", "log/").items()) == [("log/1", b"a"), ("log/2", b"b")]


def test_an_item_put_twice_is_replaced_and_removes_come_before_puts(store: SessionStore) -> None:
    put(store, change("s1", state_1=b"one"))
    put(store, change("s1", 1, state_1=b"two", removes=("state/1",)))
    assert store.read("s1", "state/1") == b"two"


@pytest.mark.parametrize("version", [0, 2])
def test_a_change_from_another_version_does_nothing(store: SessionStore, version: int) -> None:
    put(store, change("s1", state_1=b"one"))
    lost = replace(change("s1", version, state_1=b"lost"), head=b"lost")
    [stale] = store.commit([[lost]])
    assert isinstance(stale, StaleWrite)
    assert store.load("s1") == StoredHead("s1", "ada", 1, b"s1 1", None)
    assert store.read("s1", "state/1") == b"one"
    assert store.usage("ada") == measured(store, "s1")


def test_changes_of_a_commit_are_made_together_or_not_at_all(store: SessionStore) -> None:
    put(store, change("s1"))
    [stale] = store.commit([[change("s2"), change("s1", 7)]])
    assert isinstance(stale, StaleWrite)
    assert store.load("s2") is None
    put(store, change("s2"), change("s1", 1))
    assert store.load("s2") is not None


def test_commits_of_a_batch_do_not_hang_on_each_other(store: SessionStore) -> None:
    put(store, change("s1"))
    outcomes = store.commit([[change("s2")], [change("s1", 9)], [change("s3")]])
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert [head.session_id for head in store.page("ada", "", 10)] == ["s1", "s2", "s3"]


def test_two_changes_of_one_session_in_a_batch_follow_each_other(store: SessionStore) -> None:
    late = replace(change("s1", 1), head=b"late")
    assert [outcome is None for outcome in store.commit([[change("s1")], [change("s1", 1)], [late]])] == [
        True,
        True,
        False,
    ]
    head = store.load("s1")
    assert head is not None
    assert head.version == 2


def test_pages_hold_an_owners_sessions_by_ascending_id(store: SessionStore) -> None:
    for name in ("s3", "s1", "s2"):
        put(store, change(name))
    put(store, change("s0", owner="bob"))
    assert [head.session_id for head in store.page("ada", "", 2)] == ["s1", "s2"]
    assert [head.session_id for head in store.page("ada", "s2", 2)] == ["s3"]
    assert store.page("eve", "", 2) == []


def test_usage_is_what_the_rows_count(store: SessionStore) -> None:
    put(store, change("s1", state_1=bytes(1000)))
    put(store, change("s2", owner="bob", state_1=bytes(70)))
    assert store.usage("ada") == StoreUsage(1, SESSION_BYTES + len(b"s1 1") + ITEM_BYTES + 7 + 1000)
    put(store, change("s1", 1, state_1=bytes(10), log_1=b"", removes=("nothing",)))
    put(store, replace(change("s1", 2), shares={"log/2": bytes(LINKED_BYTES)}, alias="ada once"))
    put(store, replace(change("s3"), links={"log/1": ("s1", "log/2")}))
    assert store.usage("ada") == measured(store, "s1") + measured(store, "s3")
    assert store.usage() == store.usage("ada") + store.usage("bob")
    store.delete("s1")
    assert store.usage("ada") == measured(store, "s3")
    store.delete("s3")
    assert store.usage() == measured(store, "s2")


ITEM_NAMES = st.sampled_from(["state/1", "state/2", "log/1", "reply"])
NUM_BYTES = st.sampled_from([0, 5, LINKED_BYTES])
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2"]),
        st.dictionaries(ITEM_NAMES, NUM_BYTES, max_size=3),
        st.dictionaries(ITEM_NAMES, NUM_BYTES, max_size=2),
        st.lists(ITEM_NAMES, max_size=3),
        st.dictionaries(ITEM_NAMES, ITEM_NAMES, max_size=2),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_usage_is_what_is_there_and_growth_foretells_it(store: SessionStore, changes: list[Any]) -> None:
    if isinstance(store, SqliteStore):
        store._db.execute("PRAGMA synchronous = OFF")
    versions = {"s1": 0, "s2": 0}
    for name, puts, shares, removes, links, forgets in changes:
        other = {"s1": "s2", "s2": "s1"}[name]
        made = replace(
            change(name, versions[name]),
            puts={item: bytes(size) for item, size in puts.items()},
            shares={item: bytes(size) for item, size in shares.items()},
            removes=removes,
            links={link: (other, source) for link, source in links.items()},
        )
        before, growth = store.usage("ada").nbytes, store.growth(made)
        if store.commit([[made]]) == [None]:
            versions[name] += 1
            assert store.usage("ada").nbytes == before + growth
        if forgets:
            store.delete(name)
            versions[name] = 0
        assert store.usage("ada") == measured(store, "s1") + measured(store, "s2")
    for name in versions:
        store.delete(name)
    assert store.usage() == StoreUsage(0, 0)


def measured(store: SessionStore, session_id: str) -> StoreUsage:
    """Counted anew."""
    head = store.load(session_id)
    if head is None:
        return StoreUsage(0, 0)
    items = store.scan(session_id, "")
    nbytes = sum(ITEM_BYTES + len(name) + len(data) for name, data in items.items())
    return StoreUsage(1, SESSION_BYTES + len(head.head) + nbytes)


def test_tombstones_count_and_the_oldest_of_an_owner_go_first(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        put(store, change(f"s{number}", expires_at=10.0 + number))
        assert store.expire([f"s{number}"], 20.0, 100.0 + number) == [f"s{number}"]
    put(store, change("t1", owner="bob", expires_at=10.0))
    store.expire(["t1"], 20.0, 50.0)
    assert store.usage("ada") == StoreUsage(0, 0, 4)
    assert store.usage("ada").kept_bytes == 4 * TOMBSTONE_BYTES
    assert store.usage() == StoreUsage(0, 0, 5)
    store.forget_tombstones("ada", 2)
    owners = [store.expired_owner(name, 30.0) for name in ("s0", "s1", "s2", "s3", "t1")]
    assert owners == [None, None, "ada", "ada", "bob"]
    store.delete("s3")
    store.forget_tombstones("ada", 99)
    assert store.usage() == store.usage("bob") == StoreUsage(0, 0, 1)


def test_an_owner_has_only_so_many_tombstones_and_takes_none_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_store, sqlite_store):
        monkeypatch.setattr(module, "MAX_TOMBSTONES", 3)
    for store in (MemoryStore(), SqliteStore(tmp_path / "s.sqlite")):
        put(store, change("t1", owner="bob", expires_at=1.0))
        store.expire(["t1"], 20.0, 50.0)
        for number in range(5):
            put(store, change(f"s{number}", expires_at=10.0))
            store.expire([f"s{number}"], 20.0, 100.0 + number)
        assert store.usage("ada").tombstones == 3
        owners = [store.expired_owner(name, 30.0) for name in ("s0", "s1", "s2", "s4", "t1")]
        assert owners == [None, None, "ada", "ada", "bob"]
        store.close()


def test_usage_ends_with_the_last_row(store: SessionStore) -> None:
    put(store, change("s1", expires_at=10.0))
    put(store, change("s2"))
    store.delete("s2")
    assert store.expire(["s1"], 10.0, 100.0) == ["s1"]
    assert store.usage("ada") == store.usage() == StoreUsage(0, 0, 1)


def test_a_deleted_session_is_wholly_gone(store: SessionStore) -> None:
    put(store, change("s1", state_1=b"one"))
    store.delete("s1")
    put(store, change("s1"))
    assert store.read("s1", "state/1") is None
    assert store.scan("s1", "") == {}


def test_what_is_due_is_told_until_it_is_expired(store: SessionStore) -> None:
    put(store, change("s1", expires_at=10.0))
    put(store, change("s2", expires_at=20.0))
    put(store, change("s3"))
    assert store.due(9.0) == []
    assert store.due(10.0) == store.due(10.0) == ["s1"]
    assert store.due(20.0, 1) == ["s2"]
    assert store.expire(["s2", "s3", "unknown"], 10.0, 100.0) == []
    assert store.expire(["s2", "s1", "s3"], 10.0, 100.0) == ["s1"]
    assert store.due(10.0) == []
    assert store.load("s1") is None
    assert store.usage().sessions == 2


def test_a_session_expires_as_often_as_it_is_made(store: SessionStore) -> None:
    for number in range(3):
        now = 10.0 + number
        put(store, change("s1", owner=f"owner {number}", expires_at=now))
        assert store.expire(["s1"], now, now + 100.0) == ["s1"]
        assert store.expired_owner("s1", now + 99.0) == f"owner {number}"
    store.delete("s1")
    assert store.expired_owner("s1", 20.0) is None


def test_a_later_end_puts_the_earlier_aside(store: SessionStore) -> None:
    put(store, change("s1", expires_at=10.0))
    put(store, change("s1", 1, expires_at=30.0))
    assert store.due(20.0) == []
    put(store, change("s1", 2))
    assert store.due(1e9) == []


def test_whose_an_expired_session_was_is_known_for_a_while(store: SessionStore) -> None:
    put(store, change("s1", expires_at=10.0))
    store.expire(["s1"], 10.0, 100.0)
    assert store.expired_owner("s1", 99.0) == "ada"
    assert store.expired_owner("s1", 100.0) is None
    put(store, change("s2", expires_at=10.0))
    store.expire(["s2"], 10.0, 100.0)
    store.delete("s2")
    assert store.expired_owner("s2", 50.0) is None


def test_a_claim_that_was_given_back_can_be_taken_again(store: SessionStore) -> None:
    put(store, change("s1"))
    first = store.claim("s1")
    store.renew({"s1": first})
    store.release("s1", first)
    assert store.claim("s1") >= first


def test_an_alias_names_one_session_for_as_long_as_that_is_there(store: SessionStore) -> None:
    put(store, replace(change("s1", expires_at=10.0), alias="key"))
    put(store, change("s1", 1, expires_at=10.0))
    assert store.find_alias("key") == "s1"
    [stale] = store.commit([[replace(change("s2"), alias="key")]])
    assert isinstance(stale, StaleWrite)
    assert store.load("s2") is None
    assert store.expire(["s1"], 10.0, 100.0) == ["s1"]
    assert store.find_alias("key") is None
    put(store, replace(change("s2"), alias="key"))
    assert store.find_alias("key") == "s2"
    store.delete("s2")
    assert store.find_alias("key") is None
    put(store, replace(change("s3"), alias="key"))


SIZES = [100, LINKED_BYTES, 3 * LINKED_BYTES]


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_linked_item_outlives_and_differs_from_the_one_it_was(store: SessionStore, is_shared: bool) -> None:
    items = {f"log/{size}": bytes([size % 251]) * size for size in SIZES}
    first = change("s1")
    put(store, replace(first, shares=items) if is_shared else replace(first, puts=items))
    while store.share("s1", "log/"):
        pass
    links = {name: ("s1", name) for name in items}
    put(store, replace(change("s2"), links=links))
    put(store, replace(change("s3"), links={name: ("s2", name) for name in items}))
    sizes = {name: len(data) for name, data in items.items()}
    assert store.names("s2", "log/") == store.names("s1", "log/") == sizes
    for session in ("s1", "s2", "s3"):
        assert store.scan(session, "log/") == items
    put(store, replace(change("s1", 1), shares={"log/100": b"new"}, puts={f"log/{LINKED_BYTES}": b"x"}))
    put(store, replace(change("s2", 1), removes=[f"log/{LINKED_BYTES}"]))
    store.delete("s1")
    while store.purge():
        pass
    assert store.scan("s3", "log/") == items
    assert list(store.scan("s2", "log/")) == ["log/100", f"log/{3 * LINKED_BYTES}"]
    store.delete("s2")
    while store.purge():
        pass
    assert {name: store.read("s3", name) for name in items} == items
    assert store.names("s1", "") == store.names("s2", "") == {}


def test_a_link_to_nothing_leaves_everything_as_it_was(store: SessionStore) -> None:
    put(store, change("s1", log_1=b"one"))
    lost = replace(change("s1", 1), puts={"log/1": b"lost"}, links={"log/2": ("s1", "log/9")})
    outcomes = store.commit([[lost], [change("s2")]])
    assert [outcome is None for outcome in outcomes] == [False, True]
    assert store.scan("s1", "") == {"log/1": b"one"}
    assert store.usage().sessions == 2


def test_an_item_is_linked_to_within_its_session(store: SessionStore) -> None:
    data = bytes(LINKED_BYTES)
    put(store, replace(change("s1"), shares={"log/1": data}))
    moved = replace(change("s1", 1), removes=["log/1"], links={"named/1": ("s1", "log/1")})
    put(store, moved)
    while store.purge():
        pass
    assert store.scan("s1", "") == {"named/1": data}


def test_a_new_session_has_nothing_of_those_that_are_gone(store: SessionStore) -> None:
    many = {f"log/{number:04d}": bytes(8 << 10) for number in range(600)}
    put(store, replace(change("s1"), puts=many))
    store.delete("s1")
    put(store, change("s1", log_1=b"one"))
    put(store, change("s2", log_1=b"two"))
    while store.purge():
        pass
    assert (store.scan("s1", ""), store.scan("s2", "")) == ({"log/1": b"one"}, {"log/1": b"two"})
