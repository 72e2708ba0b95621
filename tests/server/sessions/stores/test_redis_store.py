"""Leases, fences, and what a redis server must be like, on a real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.stores.redis_store import RedisStore
from pararnn_server.sessions.stores.store import Change, LeaseHeld, StaleWrite, StoreUnusable, StoreUsage

from tests.redis_server import redis_server


@pytest.fixture
def pair(redis_url: str) -> Iterator[tuple[RedisStore, RedisStore]]:
    """Two servers' views of one store with leases of 0.3 s, and the session s1 in it."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    stores = RedisStore(redis_url, 0.3), RedisStore(redis_url, 0.3)
    assert stores[0].commit([[change(0, 0)]]) == [None]
    yield stores
    for store in stores:
        store.close()


def change(version: int, fence: int, head: bytes = b"head", expires_at: float | None = None) -> Change:
    return Change("s1", "ada", version, head, expires_at, fence=fence)


def test_one_server_at_a_time_may_write(pair: tuple[RedisStore, RedisStore]) -> None:
    first, second = pair
    fence = first.claim("s1")
    with pytest.raises(LeaseHeld) as held:
        second.claim("s1")
    assert 0 < held.value.retry_after <= 0.3
    first.release("s1", fence)
    assert second.claim("s1") > fence


def test_a_lease_lasts_as_long_as_it_is_renewed(pair: tuple[RedisStore, RedisStore]) -> None:
    first, second = pair
    fence = first.claim("s1")
    for _ in range(5):
        time.sleep(0.1)
        first.renew({"s1": fence})
    with pytest.raises(LeaseHeld):
        second.claim("s1")
    time.sleep(0.4)
    second.claim("s1")


def test_a_server_that_lost_its_lease_can_no_longer_write(pair: tuple[RedisStore, RedisStore]) -> None:
    first, second = pair
    old = first.claim("s1")
    time.sleep(0.4)
    new = second.claim("s1")
    first.renew({"s1": old})
    first.release("s1", old)
    assert isinstance(first.commit([[change(1, old, b"lost")]])[0], StaleWrite)
    assert second.commit([[change(1, new, b"kept")]]) == [None]
    head = first.load("s1")
    assert head is not None
    assert (head.version, head.head) == (2, b"kept")


def test_a_lease_that_nobody_took_meanwhile_is_as_good_as_held(pair: tuple[RedisStore, RedisStore]) -> None:
    first, second = pair
    fence = first.claim("s1")
    time.sleep(0.4)
    assert first.commit([[change(1, fence)]]) == [None]
    first.renew({"s1": fence})
    with pytest.raises(LeaseHeld):
        second.claim("s1")


def test_a_write_without_the_lease_does_nothing_once_there_was_one(
    pair: tuple[RedisStore, RedisStore],
) -> None:
    first, second = pair
    first.release("s1", first.claim("s1"))
    assert isinstance(second.commit([[change(1, 0)]])[0], StaleWrite)


def test_a_session_under_a_lease_does_not_expire(pair: tuple[RedisStore, RedisStore]) -> None:
    first, second = pair
    fence = first.claim("s1")
    assert first.commit([[change(1, fence, expires_at=10.0)]]) == [None]
    assert second.expire(["s1"], 20.0, 100.0) == []
    first.release("s1", fence)
    assert second.expire(["s1"], 20.0, 100.0) == ["s1"]


def test_what_an_older_version_has_kept_is_measured_once(redis_url: str) -> None:
    """Older stores kept a session's growth as its changes stated it, and counted no tombstone."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        RedisStore(redis_url).commit([[Change("s1", "ada", 0, b"head", puts={"a": bytes(1000)})]])
        measured = int(client.hget("pararnn:s:s1", "n") or 0)
        client.hset("pararnn:s:s1", "n", 7)
        for key in ("pararnn:u", "pararnn:u:ada"):
            client.hset(key, "n", 7)
        client.set("pararnn:t:s9", "4000000000.5 ada")
        client.delete("pararnn:schema")
        for _ in range(2):
            store = RedisStore(redis_url)
            assert store.usage("ada") == store.usage() == StoreUsage(1, measured, 1)
            client.delete("pararnn:schema")
    store.forget_tombstones("ada", 5)
    assert store.expired_owner("s9", 0.0) is None
    store.close()


def test_a_commit_whose_answer_was_lost_is_known_to_be_done(
    pair: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = pair
    fence, send, lost = store.claim("s1"), store._try_commit, []

    def lose_the_first_answer(commits: list[list[Change]]) -> list[bool]:
        done = send(commits)
        if not lost:
            lost.append(done)
            raise redis.ConnectionError("lost")
        return done

    monkeypatch.setattr(store, "_try_commit", lose_the_first_answer)
    assert store.commit([[change(1, fence, b"once")]]) == [None]
    assert lost == [[True]]
    head = store.load("s1")
    assert head is not None
    assert (head.version, head.head) == (2, b"once")


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (("--appendfsync", "everysec"), "appendfsync always"),
        (("--appendonly", "no"), "appendonly yes"),
        (("--maxmemory-policy", "allkeys-lru"), "maxmemory-policy noeviction"),
    ],
)
def test_a_server_that_would_lose_turns_is_refused(
    options: tuple[str, ...], needs: str, tmp_path: Path
) -> None:
    with redis_server(tmp_path, *options) as url, pytest.raises(StoreUnusable, match=needs):
        RedisStore(url)


def test_a_server_that_is_full_or_gone_is_one_clear_error(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "5mb") as url:
        store = RedisStore(url)
        with pytest.raises(StoreFailed) as full:
            for i in range(20):
                store.commit([[Change(f"s{i}", "ada", 0, b"head", puts={"a": bytes(1 << 19)})]])
        assert store.usage().sessions > 0
        assert full.value.code == "store_full"
    with pytest.raises(StoreFailed) as gone:
        store.load("s1")
    assert gone.value.code == "store_unreachable"
    store.close()
    with pytest.raises(StoreUnusable):
        RedisStore(url)
