"""Long work on the store's thread touches few bytes at a time, and turns of others commit in between."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pararnn_server.errors import NotFound, ServerError
from pararnn_server.sessions import branches, turns
from pararnn_server.sessions import import_export as transfer
from pararnn_server.sessions.checksum import add_checksum
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.names import LOG, log_name
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import PIECE_BYTES, Commit, StaleWrite, put_bytes
from pararnn_server.sessions.token_log import PIECE_IDS
from pararnn_server.sessions.turns import BATCH_BYTES, EndingTurn, commit_turns

from tests.server.session_fixtures import ADA, SIZE, Sessions, build_sessions, result

T = TypeVar("T")
NUM_IDS = 1_500_000
# What one step may touch: one piece, the item that goes past it, and a state.
MOST = PIECE_BYTES + 4 * PIECE_IDS + SIZE + 1000


class CountingStore(SqliteStore):
    """touched: bytes of items read and written since it was reset."""

    touched = 0
    batches: Sequence[int] = ()

    def read(self, session_id: str, name: str) -> bytes | None:
        data = super().read(session_id, name)
        self.touched += len(data or b"")
        return data

    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        items = super().scan(session_id, prefix)
        self.touched += sum(len(data) for data in items.values())
        return items

    def share(self, session_id: str, prefix: str) -> bool:
        count = "SELECT coalesce(sum(length(data)), 0) FROM blobs"
        [before] = self._db.execute(count).fetchone()
        left = super().share(session_id, prefix)
        [after] = self._db.execute(count).fetchone()
        self.touched += after - before
        return left

    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        nbytes = sum(put_bytes(change) for commit in commits for change in commit)
        self.batches = [*self.batches, nbytes]
        self.touched += nbytes
        return super().commit(commits)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "s.sqlite")


@pytest.fixture
def manager(store: CountingStore) -> Iterator[Sessions]:
    made = build_sessions(store)
    yield made
    made.close()


def counted(store: CountingStore, steps: Steps[T]) -> tuple[T, list[int]]:
    """The result, and the bytes that each step touched."""
    touched = []
    while True:
        store.touched = 0
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value, [*touched, store.touched]
        touched.append(store.touched)


def long_session(manager: Sessions) -> tuple[str, list[int]]:
    ids = [number % 11 for number in range(NUM_IDS)]
    session = manager.create(ADA).id
    manager.keep(manager.begin_turn(session, ADA), result(ids))
    return session, ids


def test_forks_and_snapshots_link_to_the_log_and_copy_none_of_it(
    manager: Sessions, store: CountingStore
) -> None:
    session, ids = long_session(manager)
    used = store._db.execute("PRAGMA page_count").fetchone()[0]
    children = []
    for _ in range(5):
        child, touched = counted(store, branches.fork(manager.ledger, session, ADA))
        assert max(touched) < SIZE + 5000
        children.append(child.id)
    _, touched = counted(store, branches.save_snapshot(manager.ledger, session, ADA, "here"))
    assert max(touched) < SIZE + 5000
    assert store._db.execute("PRAGMA page_count").fetchone()[0] < used + 100
    manager.say(session, ADA, 7)
    manager.say(children[0], ADA, 8)
    store.touched = 0
    manager.now(branches.rollback, session, ADA, "here")
    assert store.touched < 2 * SIZE + 5000
    manager.delete(session, ADA)
    while store.purge():
        pass
    assert manager.token_ids(children[0]) == [*ids, 8]
    assert manager.token_ids(children[1]) == ids


def test_a_log_of_the_first_version_is_made_ready_for_links_in_pieces(
    manager: Sessions, store: CountingStore
) -> None:
    session, ids = long_session(manager)
    # As the first version kept it: bytes of the session alone, a piece a turn.
    with store._file.growing():
        [number] = store._db.execute("SELECT number FROM sessions WHERE id = ?", (session,)).fetchone()
        store._items.remove(number, list(store.names(session, LOG)))
        size = 50_000
        for start in range(0, NUM_IDS, size):
            data = add_checksum(array("I", ids[start : start + size]).tobytes())
            store._items.put(number, {log_name(start): data})
    child, touched = counted(store, branches.fork(manager.ledger, session, ADA))
    assert len(touched) > 4 * NUM_IDS // PIECE_BYTES
    assert max(touched) <= MOST
    assert manager.token_ids(child.id) == ids
    _, touched = counted(store, branches.fork(manager.ledger, session, ADA))
    assert sum(touched) < SIZE + 5000


def test_files_are_written_and_read_in_pieces(manager: Sessions, store: CountingStore) -> None:
    session, ids = long_session(manager)
    file, touched = counted(store, transfer.export(manager.ledger, session, ADA, tokens=True))
    assert len(touched) > 4 * NUM_IDS // PIECE_BYTES
    assert max(touched) <= MOST
    assert list(file.token_ids or ()) == ids
    made, touched = counted(store, transfer.import_new(manager.ledger, ADA, file, None))
    assert len(touched) > 4 * NUM_IDS // PIECE_BYTES
    assert max(touched) <= MOST
    other = manager.create(ADA).id
    manager.say(other, ADA, 1, 2, 3)
    _, touched = counted(store, transfer.import_into(manager.ledger, other, ADA, file))
    assert max(touched) <= MOST
    while store.purge():
        pass
    for imported in (made.id, other):
        assert manager.token_ids(imported) == ids
    assert store.usage().sessions == 3
    assert store._db.execute("SELECT count(*) FROM gone").fetchone() == (0,)


def test_an_import_that_fails_leaves_nothing(manager: Sessions, store: CountingStore) -> None:
    session, _ = long_session(manager)
    file, _ = counted(store, transfer.export(manager.ledger, session, ADA, tokens=True))
    other = manager.create(ADA).id
    steps = transfer.import_into(manager.ledger, other, ADA, file)
    next(steps)
    with pytest.raises(ServerError) as busy:
        manager.begin_turn(other, ADA)
    assert busy.value.code == "session_busy"
    manager.delete(other, ADA)
    with pytest.raises(ServerError) as deleted:
        counted(store, steps)
    assert deleted.value.code == "session_deleted"
    assert (store.usage().sessions, manager.ledger.claims) == (1, {})
    with pytest.raises(NotFound):
        manager.get(other, ADA)


def test_an_export_is_one_turn_of_the_session_whatever_is_written_meanwhile(
    manager: Sessions, store: CountingStore
) -> None:
    session, ids = long_session(manager)
    steps = transfer.export(manager.ledger, session, ADA, tokens=True)
    said = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            file = end.value
            break
        said += 1
        manager.say(session, ADA, 3)
        manager.now(branches.rollback, session, ADA, 1)
        manager.say(session, ADA, 4)
    assert said > 2
    assert list(file.token_ids or ()) == [*ids, *([4] * (file.num_tokens - NUM_IDS))]


def test_turns_that_end_together_go_in_batches_of_bounded_bytes(
    manager: Sessions, store: CountingStore
) -> None:
    told: list[Any] = []
    ids = [1] * (BATCH_BYTES // 8)
    endings = [
        EndingTurn(
            manager.ledger, manager.begin_turn(manager.create(ADA).id, ADA), result(ids), 0.0, told.append
        )
        for _ in range(6)
    ]
    store.batches = []
    commit_turns(manager.ledger, endings)
    assert [isinstance(outcome, SessionInfo) for outcome in told] == [True] * 6
    assert len(store.batches) >= 4
    assert max(store.batches) <= BATCH_BYTES


def test_turns_of_others_commit_while_long_work_is_under_way() -> None:
    manager = build_sessions(threaded=True)
    session = manager.create(ADA).id
    began, ends = threading.Event(), threading.Event()

    def long_work(ledger: Ledger) -> Steps[int]:
        steps = 0
        while not ends.is_set():
            steps += 1
            began.set()
            yield
            time.sleep(0.001)
        return steps

    working = manager.ask(long_work)
    assert began.wait(20)
    for number in range(1, 6):
        assert manager.say(session, ADA, 1).turn == number
        assert not working.done()
    ends.set()
    assert working.result(20) > 5
    assert manager.now(turns.running_request, session, ADA) is None
    manager.close()
