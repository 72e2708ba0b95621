"""Expiry: every session ends in time, in small pieces, also if another one fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from pararnn_server.errors import Expired, StoreFailed
from pararnn_server.sessions.ledger import EXPIRED_AT_ONCE, Ledger
from pararnn_server.sessions.stores.memory_store import MemoryStore

from tests.server.session_fixtures import ADA, Clock, Sessions, build_sessions


class AilingStore(MemoryStore):
    """Sessions whose id is in `ailing` cannot be removed; leases are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.lease_seconds = 10.0
        self.ailing: set[str] = set()
        self.batches: list[int] = []
        self.renewed: list[set[str]] = []

    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        self.batches.append(len(session_ids))
        if self.ailing & set(session_ids):
            raise StoreFailed("a page is damaged", code="store_corrupt")
        return super().expire(session_ids, now, forget_at)

    def renew(self, fences: Mapping[str, int]) -> None:
        self.renewed.append(set(fences))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> AilingStore:
    return AilingStore()


@pytest.fixture
def manager(store: AilingStore, clock: Clock) -> Sessions:
    return build_sessions(store, clock=clock)


def test_a_session_that_cannot_be_removed_holds_up_no_other(
    manager: Sessions, store: AilingStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [manager.create(ADA, ttl_seconds=10 + number).id for number in range(200)]
    store.ailing = {ids[0], ids[1], ids[150]}
    for _ in range(3):
        clock.now += 1000
        manager.now(Ledger.sweep)
        assert store.usage().sessions == len(store.ailing)
    assert len(caplog.records) == len(store.ailing)
    with pytest.raises(Expired):
        manager.get(ids[5], ADA)
    store.ailing.clear()
    manager.now(Ledger.sweep)
    assert store.usage().sessions == 0


def test_thousands_that_expire_at_once_go_some_at_a_time(
    manager: Sessions, store: AilingStore, clock: Clock
) -> None:
    for _ in range(1000):
        manager.create(ADA, ttl_seconds=10)
    clock.now += 1000
    steps = manager.ledger.sweep()
    left = [store.usage().sessions for _ in steps]
    assert len(left) >= 1000 // EXPIRED_AT_ONCE
    assert max(store.batches) == EXPIRED_AT_ONCE
    assert left[-1] == 0


def test_what_is_under_way_keeps_its_lease_and_its_session(
    manager: Sessions, store: AilingStore, clock: Clock
) -> None:
    session = manager.create(ADA, ttl_seconds=10).id
    turn = manager.begin_turn(session, ADA)
    clock.now += 1000
    manager.now(Ledger.sweep)
    manager.now(Ledger.renew_leases)
    assert store.renewed == [{session}]
    manager.abandon(turn)
    manager.now(Ledger.sweep)
    assert store.usage().sessions == 0
