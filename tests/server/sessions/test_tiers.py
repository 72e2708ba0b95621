"""Host memory under its budget, what goes down and comes up, and that versions are compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.errors import TooManyRequests
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.metrics.tiers import TierTotal
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.turns import EndingTurn, commit_turns

from tests.server.metrics_fixtures import new_metrics, values
from tests.server.session_fixtures import ADA, BOB, SIZE, Clock, Sessions, build_sessions, result


@pytest.fixture
def metrics() -> Metrics:
    return new_metrics()


@pytest.fixture
def manager(tmp_path: Path, metrics: Metrics) -> Iterator[Sessions]:
    """Host memory for three states of each key."""
    made = build_sessions(
        SqliteStore(tmp_path / "s.sqlite"), metrics=metrics, clock=Clock(), host_state_bytes=3 * SIZE
    )
    yield made
    made.close()


def moves(metrics: Metrics) -> dict[str, float]:
    found = values(metrics.server)
    return {name: value for name, value in found.items() if name.startswith("state_moves_total")}


def test_the_least_recently_used_go_down_and_come_up_when_used(manager: Sessions, metrics: Metrics) -> None:
    sessions = [manager.create(ADA).id for _ in range(5)]
    for fill, session in enumerate(sessions):
        manager.say(session, ADA, 1, fill=fill)
    assert [manager.get(session, ADA).tier for session in sessions] == ["store"] * 2 + ["host"] * 3
    assert manager.ledger.host.nbytes == 3 * SIZE
    totals = manager.page(ADA).totals
    assert totals["host"] == TierTotal(3, 3 * SIZE)
    assert totals["store"] == TierTotal(2, manager.ledger.store.usage(ADA.encode()).nbytes)
    assert totals["store"].state_bytes > 5 * SIZE
    for fill, session in enumerate(sessions):
        turn = manager.begin_turn(session, ADA)
        assert turn.snapshot.buffer.eq(fill).all()
        assert manager.get(session, ADA).tier == "device"
        manager.abandon(turn)
    found = moves(metrics)
    assert found["state_moves_total{from=store,to=host}"] == 5
    assert found["state_moves_total{from=host,to=store}"] == 2 + 5
    assert values(metrics.server)["state_move_seconds_count{from=store,to=host}"] == 5


def test_pinned_sessions_stay_in_memory_and_never_expire(manager: Sessions) -> None:
    clock = manager.ledger.clock
    assert isinstance(clock, Clock)
    pinned = manager.create(ADA, ttl_seconds=10).id
    manager.say(pinned, ADA, 1)
    info = manager.now(directory.update, pinned, ADA, pinned=True)
    assert (info.pinned, info.expires_at) == (True, None)
    for _ in range(10):
        manager.say(manager.create(ADA).id, ADA, 1)
    clock.now += 1000
    manager.now(Ledger.sweep)
    assert manager.get(pinned, ADA).tier == "host"
    info = manager.now(directory.update, pinned, ADA, pinned=False)
    assert info.expires_at == int(clock.now) + 10


def test_no_more_states_are_pinned_than_memory_is_for(manager: Sessions) -> None:
    sessions = [manager.create(ADA).id for _ in range(4)]
    for session in sessions[:3]:
        manager.now(directory.update, session, ADA, pinned=True)
    with pytest.raises(TooManyRequests):
        manager.now(directory.update, sessions[3], ADA, pinned=True)
    manager.now(directory.update, sessions[0], ADA, pinned=False)
    manager.now(directory.update, sessions[3], ADA, pinned=True)


def test_no_key_displaces_or_notices_the_waiting_states_of_another(manager: Sessions) -> None:
    bobs = [manager.create(BOB).id for _ in range(3)]
    for session in bobs:
        manager.say(session, BOB, 1)
    before = manager.page(BOB)
    for _ in range(5):
        manager.say(manager.create(ADA).id, ADA, 1)
    pinned = [manager.create(ADA).id for _ in range(3)]
    for session in pinned:
        manager.now(directory.update, session, ADA, pinned=True)
    assert manager.page(BOB) == before
    for session in bobs:
        manager.now(directory.update, session, BOB, pinned=True)
    assert manager.ledger.host.nbytes == 6 * SIZE


def test_stored_responses_wait_in_the_share_of_their_key(manager: Sessions) -> None:
    for owner in (ADA, ADA.responses):
        for _ in range(3):
            manager.say(manager.create(owner).id, owner, 1)
    assert manager.ledger.host.nbytes == 3 * SIZE
    assert manager.page(ADA).totals["host"].sessions == 0


def test_states_pinned_before_a_restart_take_no_more_memory_than_the_share(tmp_path: Path) -> None:
    for _ in range(2):
        store = SqliteStore(tmp_path / "s.sqlite")
        manager = build_sessions(store, host_state_bytes=3 * SIZE)
        for _ in range(3):
            session = manager.create(ADA).id
            manager.say(session, ADA, 1)
            manager.now(directory.update, session, ADA, pinned=True)
        for info in manager.page(ADA).sessions:
            manager.abandon(manager.begin_turn(info.id, ADA))
        assert manager.ledger.host.nbytes <= 3 * SIZE
        manager.close()


def test_patch_leaves_what_it_does_not_name(manager: Sessions) -> None:
    session = manager.create(ADA, {"k": "v"}, ttl_seconds=10).id
    assert manager.now(directory.update, session, ADA, ttl_seconds=99.0).metadata == {"k": "v"}
    info = manager.now(directory.update, session, ADA, metadata={"x": "y"})
    assert info.metadata == {"x": "y"}
    assert info.expires_at == int(manager.ledger.clock()) + 99


def test_a_copy_in_memory_of_another_version_is_not_used(tmp_path: Path) -> None:
    """Two servers share a store, and one writes to it."""
    store = SqliteStore(tmp_path / "s.sqlite")
    here, there = build_sessions(store), build_sessions(store)
    session = here.create(ADA).id
    here.say(session, ADA, 1, fill=1)
    there.say(session, ADA, 2, fill=2)
    assert here.get(session, ADA).turn == 2
    turn = here.begin_turn(session, ADA)
    assert turn.snapshot.buffer.eq(2).all()
    here.abandon(turn)
    store.close()


def test_a_page_counts_only_the_owners_sessions(manager: Sessions) -> None:
    for owner in (ADA, BOB, BOB):
        manager.say(manager.create(owner).id, owner, 1)
    turn = manager.begin_turn(manager.create(BOB).id, BOB)
    totals = manager.page(ADA).totals
    assert [totals[tier].sessions for tier in ("device", "host", "store")] == [0, 1, 0]
    manager.abandon(turn)
    everyone = manager.totals()
    assert sum(total.sessions for total in everyone.values()) == 4


def test_a_list_shows_no_expired_session_however_long_the_sweep_takes(manager: Sessions) -> None:
    clock = manager.ledger.clock
    assert isinstance(clock, Clock)
    for _ in range(40):
        manager.create(ADA, ttl_seconds=10)
    stays = manager.create(ADA).id
    clock.now += 20
    page = manager.page(ADA, limit=50)
    assert ([info.id for info in page.sessions], page.has_more) == ([stays], False)
    assert sum(total.sessions for total in page.totals.values()) == 1


def test_a_turn_that_cannot_be_kept_fails_alone(manager: Sessions) -> None:
    turns = [manager.begin_turn(manager.create(ADA).id, ADA) for _ in range(2)]
    told: list[object] = []
    endings = [
        EndingTurn(manager.ledger, turn, result(ids), 0.0, told.append)
        for turn, ids in zip(turns, ([2**40], [1, 2]), strict=True)
    ]
    commit_turns(manager.ledger, endings)
    assert sorted(type(one).__name__ for one in told) == ["SessionInfo", "StoreFailed"]
    assert manager.get(turns[1].session_id, ADA).num_tokens == 2
    manager.abandon(manager.begin_turn(turns[0].session_id, ADA))
