"""Forks, snapshots, rollback: every way back leads to exactly what was there, and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pararnn_server.errors import BadRequest, Conflict, NotFound, StoreFailed, TooManyRequests
from pararnn_server.sessions import branches
from pararnn_server.sessions import catalogue as directory
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.names import log_name, state_name
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import Change
from pararnn_server.sessions.turn import Repeated

from tests.server.session_fixtures import ADA, SIZE, Sessions, build_sessions, kind_of, result


@pytest.fixture(params=["memory", "sqlite", "sqlite without memory"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "s.sqlite")
    budget = 0 if "without" in request.param else 1 << 20
    made = build_sessions(store, host_state_bytes=budget, max_snapshots=2)
    yield made
    made.close()


def three_turns(manager: Sessions) -> str:
    """Turn i adds 10 i and 10 i + 1, the second pending, and leaves a state of bytes i."""
    session = manager.create(ADA, {"k": "v"}).id
    for i in (1, 2, 3):
        turn = manager.begin_turn(session, ADA)
        manager.keep(turn, result([10 * i, 10 * i + 1], pending=(10 * i + 1,), fill=i))
    return session


def place(manager: Sessions, session: str) -> tuple[int, list[int], tuple[int, ...], int, list[int]]:
    """Turn, ids, pending ids, what the state is filled with, turns of the history."""
    stored = manager.stored(session)
    turn = manager.begin_turn(session, ADA)
    manager.abandon(turn)
    assert turn.snapshot == stored.snapshot
    history = [numbers.turn for numbers in manager.history(session, ADA)]
    fill = int(stored.snapshot.buffer[0])
    assert stored.snapshot.buffer.eq(fill).all()
    return stored.record.turn, stored.token_ids.tolist(), stored.pending_ids, fill, history


AFTER = {
    0: (0, [], (), 0, []),
    1: (1, [10, 11], (11,), 1, [1]),
    2: (2, [10, 11, 20, 21], (21,), 2, [1, 2]),
    3: (3, [10, 11, 20, 21, 30, 31], (31,), 3, [1, 2, 3]),
}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rollback_leads_to_what_was_there(manager: Sessions, turns: int) -> None:
    session = three_turns(manager)
    info = manager.now(branches.rollback, session, ADA, turns)
    assert place(manager, session) == AFTER[3 - turns]
    assert (info.turn, info.num_tokens) == (3 - turns, 2 * (3 - turns))
    manager.keep(manager.begin_turn(session, ADA), result([7], fill=9))
    assert manager.token_ids(session) == [*AFTER[3 - turns][1], 7]


def test_no_more_turns_are_undone_than_states_are_kept(tmp_path: Path) -> None:
    manager = build_sessions(rollback_turns=2)
    session = three_turns(manager)
    for turns in (3, 4):
        with pytest.raises(BadRequest) as error:
            manager.now(branches.rollback, session, ADA, turns)
        assert error.value.param == "turns"
    manager.now(branches.rollback, session, ADA, 2)
    with pytest.raises(BadRequest):
        manager.now(branches.rollback, session, ADA, 1)
    assert place(manager, session) == AFTER[1]


def test_kept_states_are_as_many_as_can_be_undone(tmp_path: Path) -> None:
    for depth in (0, 1, 4):
        manager = build_sessions(rollback_turns=depth)
        session = manager.create(ADA).id
        for _ in range(10):
            manager.say(session, ADA, 1)
        states = manager.ledger.store.scan(session, "state/")
        assert len(states) == depth + 1
        assert manager.details(session, ADA).memory["host"] == (depth + 1) * SIZE


def test_a_snapshot_is_whole_whatever_is_undone_or_written_after_it(manager: Sessions) -> None:
    session = three_turns(manager)
    manager.now(branches.save_snapshot, session, ADA, "here")
    manager.now(branches.rollback, session, ADA, 2)
    manager.keep(manager.begin_turn(session, ADA), result([7, 8], fill=9))
    manager.now(branches.rollback, session, ADA, "here")
    assert place(manager, session) == AFTER[3]
    with pytest.raises(BadRequest):
        manager.now(branches.rollback, session, ADA, 1)
    manager.say(session, ADA, 5)
    manager.now(branches.rollback, session, ADA, 1)
    assert place(manager, session) == AFTER[3]


def test_a_snapshot_of_an_empty_session_leads_to_an_empty_session(manager: Sessions) -> None:
    session = manager.create(ADA).id
    manager.now(branches.save_snapshot, session, ADA, "start")
    manager.say(session, ADA, 1, 2)
    manager.now(branches.rollback, session, ADA, "start")
    assert place(manager, session) == AFTER[0]


def test_snapshots_have_names_places_and_bytes(manager: Sessions) -> None:
    session = three_turns(manager)
    info = manager.now(branches.save_snapshot, session, ADA, "a")
    assert info.snapshot_bytes == SIZE + 4 * 6
    manager.now(branches.save_snapshot, session, ADA, "b")
    with pytest.raises(TooManyRequests):
        manager.now(branches.save_snapshot, session, ADA, "c")
    manager.now(branches.rollback, session, ADA, 2)
    manager.now(branches.save_snapshot, session, ADA, "a")
    found = manager.details(session, ADA).snapshots
    assert {name: (one.turn, one.num_tokens) for name, one in found.items()} == {"a": (1, 2), "b": (3, 6)}
    manager.now(branches.delete_snapshot, session, ADA, "b")
    for call in (branches.rollback, branches.delete_snapshot):
        with pytest.raises(NotFound):
            manager.now(call, session, ADA, "b")
    assert list(manager.ledger.store.scan(session, "named/b/")) == []


def test_a_fork_goes_its_own_way_and_outlives_its_parent(manager: Sessions) -> None:
    session = three_turns(manager)
    manager.now(branches.save_snapshot, session, ADA, "here")
    child = manager.now(branches.fork, session, ADA)
    assert (child.parent_id, child.metadata, child.snapshot_bytes, child.pinned) == (
        session,
        {"k": "v"},
        0,
        False,
    )
    assert place(manager, child.id) == place(manager, session) == AFTER[3]
    manager.keep(manager.begin_turn(child.id, ADA), result([7], fill=9))
    assert place(manager, session) == AFTER[3]
    manager.delete(session, ADA)
    assert manager.token_ids(child.id) == [*AFTER[3][1], 7]
    manager.now(branches.rollback, child.id, ADA, 1)
    assert place(manager, child.id) == AFTER[3]


def test_a_busy_session_is_forked_at_its_last_commit_and_takes_no_other_write(manager: Sessions) -> None:
    session = three_turns(manager)
    turn = manager.begin_turn(session, ADA)
    child = manager.now(branches.fork, session, ADA, {"other": "words"})
    for write in (
        lambda: manager.now(branches.save_snapshot, session, ADA, "a"),
        lambda: manager.now(branches.rollback, session, ADA, 1),
        lambda: manager.now(directory.update, session, ADA, metadata={}),
    ):
        with pytest.raises(Conflict):
            write()
    manager.keep(turn, result([7]))
    assert place(manager, child.id) == AFTER[3]
    assert child.metadata == {"other": "words"}


def test_expected_turn_guards_every_write(manager: Sessions) -> None:
    session = three_turns(manager)
    for write in (
        lambda: manager.now(branches.save_snapshot, session, ADA, "a", expected_turn=2),
        lambda: manager.now(branches.rollback, session, ADA, 1, expected_turn=2),
        lambda: manager.now(branches.fork, session, ADA, expected_turn=2),
        lambda: manager.now(directory.update, session, ADA, pinned=True, expected_turn=2),
    ):
        with pytest.raises(Conflict) as conflict:
            write()
        assert conflict.value.code == "turn_conflict"
    assert place(manager, session) == AFTER[3]


def test_a_write_sent_twice_happens_once(manager: Sessions) -> None:
    session, idempotency_key = three_turns(manager), IdempotencyKey("key", "digest")
    for _ in range(3):
        info = manager.now(branches.rollback, session, ADA, 1, idempotency_key)
        assert info.turn == 2
    assert place(manager, session) == AFTER[2]
    with pytest.raises(BadRequest) as reused:
        manager.now(branches.rollback, session, ADA, 2, IdempotencyKey("key", "other digest"))
    assert reused.value.code == "idempotency_key_reused"
    manager.say(session, ADA, 1)
    assert manager.now(branches.rollback, session, ADA, 1, idempotency_key).turn == 2


def test_a_fork_sent_twice_makes_one_child_however_much_later(manager: Sessions) -> None:
    session = three_turns(manager)
    child = manager.now(branches.fork, session, ADA, idempotency_key=IdempotencyKey("key", "d"))
    manager.say(session, ADA, 1)
    manager.say(child.id, ADA, 2)
    again = manager.now(branches.fork, session, ADA, idempotency_key=IdempotencyKey("key", "d"))
    assert (again.id, again.turn) == (child.id, 4)
    other = manager.now(branches.fork, session, ADA, idempotency_key=IdempotencyKey("other", "d"))
    assert other.id != child.id
    with pytest.raises(BadRequest):
        manager.now(branches.fork, session, ADA, idempotency_key=IdempotencyKey("key", "other"))


def test_a_turn_sent_twice_is_answered_as_before(manager: Sessions) -> None:
    session, idempotency_key = manager.create(ADA).id, IdempotencyKey("key", "d")
    turn = manager.begin_turn(session, ADA, idempotency_key=idempotency_key)
    with pytest.raises(Conflict):
        manager.begin(session, ADA, idempotency_key=idempotency_key)
    manager.keep(turn, result([1, 2], reply=b"said"))
    repeated = manager.begin(session, ADA, idempotency_key=idempotency_key, expected_turn=0)
    assert isinstance(repeated, Repeated)
    assert (repeated.reply, repeated.info.turn) == (b"said", 1)
    manager.say(session, ADA, 3)
    following = manager.begin_turn(session, ADA, idempotency_key=idempotency_key)
    manager.abandon(following)
    assert manager.ledger.store.read(session, "reply") is None


def test_a_bit_that_changed_in_the_store_is_an_error_and_no_wrong_state(manager: Sessions) -> None:
    session = three_turns(manager)
    store = manager.ledger.store
    for name in (state_name(3), state_name(2), log_name(2)):
        data = bytearray(store.read(session, name) or b"")
        data[len(data) // 2] ^= 1
        head = store.load(session)
        assert head is not None
        puts = {name: bytes(data)}
        store.commit([[Change(session, ADA.encode(), head.version, head.head, puts=puts)]])
    for call in (
        lambda: manager.begin_turn(session, ADA),
        lambda: manager.now(branches.rollback, session, ADA, 1),
        lambda: manager.now(branches.fork, session, ADA),
    ):
        with pytest.raises(StoreFailed) as error:
            call()
        assert error.value.code == "store_corrupt"
    assert manager.running_request(session, ADA) is None


def test_a_session_of_another_model_is_seen_but_not_gone_on_with(tmp_path: Path) -> None:
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"))
    session = three_turns(manager)
    manager.close()
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"), kind_of(fingerprint="other"))
    assert manager.get(session, ADA).turn == 3
    for call in (
        lambda: manager.begin_turn(session, ADA),
        lambda: manager.now(branches.rollback, session, ADA, 1),
    ):
        with pytest.raises(Conflict) as error:
            call()
        assert error.value.code == "model_changed"
    manager.delete(session, ADA)
    manager.close()


def test_a_session_kept_in_another_activation_dtype_is_refused_with_the_reason(tmp_path: Path) -> None:
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"))
    session = three_turns(manager)
    manager.close()
    config = replace(kind_of().config, activation_dtype="bfloat16")
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"), kind_of(config))
    assert manager.get(session, ADA).turn == 3
    with pytest.raises(Conflict, match=r"model on another device.*activations in another type") as error:
        manager.begin_turn(session, ADA)
    assert error.value.code == "model_changed"
    manager.close()


def test_a_state_of_another_build_goes_on_and_says_so(tmp_path: Path) -> None:
    other = replace(kind_of(), build="another build")
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"), other)
    session, empty = three_turns(manager), manager.create(ADA).id
    assert not manager.get(session, ADA).build_changed
    manager.close()
    manager = build_sessions(SqliteStore(tmp_path / "s.sqlite"))
    assert manager.get(session, ADA).build_changed
    assert manager.say(session, ADA, 1).build_changed
    assert manager.now(branches.fork, session, ADA).build_changed
    assert not manager.say(empty, ADA, 1).build_changed
    manager.close()
