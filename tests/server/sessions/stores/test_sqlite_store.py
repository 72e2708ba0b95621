"""The sqlite file: access, durability, and errors of a full or broken disk."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pararnn_server.errors import StoreFailed
from pararnn_server.sessions import branches
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.stores import sqlite_schema
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import Change, StoreUnusable, StoreUsage

from tests.server.session_fixtures import ADA, BOB, build_sessions, result

GOLDEN = Path(__file__).parents[3] / "golden" / "sessions_v1.sqlite"

DIES_IN_A_COMMIT = """
import os, sys
from pathlib import Path
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import Change
store = SqliteStore(Path(sys.argv[1]))
store.commit([[Change("s1", "ada", 0, b"kept", puts={"a": b"kept"})]])
store._db.execute("BEGIN IMMEDIATE")
store._apply(Change("s1", "ada", 1, b"lost", puts={"a": b"lost", "b": b"lost"}), [])
os.kill(os.getpid(), 9)
"""


def change(session_id: str, version: int = 0, **puts: bytes) -> Change:
    return Change(session_id, "ada", version, b"head", puts=puts)


def test_a_second_server_is_told_that_the_file_is_taken(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    with pytest.raises(StoreUnusable, match="another server uses"):
        SqliteStore(tmp_path / "s.sqlite")
    store.close()
    SqliteStore(tmp_path / "s.sqlite").close()


def test_sessions_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "deep" / "s.sqlite")
    store.commit([[change("s1", state=b"one")]])
    store.close()
    store = SqliteStore(tmp_path / "deep" / "s.sqlite")
    assert store.read("s1", "state") == b"one"
    assert store.usage("ada") == StoreUsage(1, 1024 + len(b"head") + 64 + len(b"state" + b"one"))
    store.close()


def test_a_process_killed_in_a_commit_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    ended = subprocess.run([sys.executable, "-c", DIES_IN_A_COMMIT, str(path)], check=False)
    assert ended.returncode == -9
    store = SqliteStore(path)
    head = store.load("s1")
    assert head is not None
    assert (head.version, head.head, store.scan("s1", "")) == (1, b"kept", {"a": b"kept"})
    store.close()


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "own" / "s.sqlite")
    store.commit([[change("s1")]])
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "own").iterdir()} == {0o600}
    store.close()


def test_every_commit_is_synced_and_the_log_is_cut_when_idle(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.commit([[change("s1", state=bytes(100_000))]])
    log = tmp_path / "s.sqlite-wal"
    assert log.stat().st_size > 100_000
    store.idle()
    assert log.stat().st_size == 0
    store.close()


def test_a_full_disk_is_one_clear_error_and_undoes_the_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.commit([[change("s1", state=b"one")]])
    [pages] = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    with pytest.raises(StoreFailed) as error:
        store.commit([[change("s1", 1, state=bytes(1 << 20))], [change("s2")]])
    assert error.value.code == "store_full"
    assert (store.read("s1", "state"), store.load("s2")) == (b"one", None)
    assert store.usage() == StoreUsage(1, 1024 + len(b"head") + 64 + len(b"state" + b"one"))
    store.commit([[change("s1", 1, state=b"two")]])
    assert store.read("s1", "state") == b"two"
    store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        SqliteStore(tmp_path / "text.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE cats (name)")
    other.close()
    with pytest.raises(StoreUnusable, match="another program"):
        SqliteStore(tmp_path / "other.sqlite")


def test_a_broken_page_is_an_error_and_not_a_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SqliteStore(path)
    store.commit([[change(f"s{i}", state=bytes(5000)) for i in range(50)]])
    store.close()
    data = bytearray(path.read_bytes())
    for start in range(20 * 4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)
    try:
        store = SqliteStore(path)
    except StoreUnusable:
        return
    with pytest.raises(StoreFailed) as error:
        for i in range(50):
            store.load(f"s{i}")
            store.read(f"s{i}", "state")
    assert error.value.code == "store_corrupt"
    store.close()


def test_steps_lead_from_each_version_to_the_newest_and_keep_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SqliteStore(path)
    store.commit([[change("s1", state=b"one")]])
    store.close()
    steps = [*sqlite_schema.STEPS, "ALTER TABLE sessions ADD COLUMN colour TEXT;"]
    db = sqlite3.connect(path, isolation_level=None)
    sqlite_schema.migrate(db, steps)
    sqlite_schema.migrate(db, steps)
    assert db.execute("SELECT id, colour FROM sessions").fetchall() == [("s1", None)]
    db.close()
    with pytest.raises(StoreUnusable, match="newer version"):
        SqliteStore(path)


def test_a_file_of_the_first_version_holds_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    shutil.copy(GOLDEN, path)
    session, child = "sess_" + "1" * 32, "sess_f4fd41dd0f7a58244bd2d8c2685a27bc"
    manager = build_sessions(SqliteStore(path))
    assert manager.token_ids(session) == [10, 11, 20, 21, 30, 31, 7, 8]
    assert (
        manager.now(branches.fork, session, ADA, idempotency_key=IdempotencyKey("key", "digest")).id == child
    )
    assert manager.token_ids(child) == [10, 11, 20, 21, 30, 31]
    manager.say(child, ADA, 5, fill=5)
    manager.now(branches.rollback, session, ADA, 1)
    assert manager.stored(session).snapshot.buffer.eq(3).all()
    manager.now(branches.rollback, session, ADA, "here")
    assert manager.stored(session).snapshot.buffer.eq(3).all()
    assert manager.token_ids(session) == [10, 11, 20, 21, 30, 31]
    other = manager.now(branches.fork, session, ADA).id
    manager.delete(session, ADA)
    assert manager.token_ids(other) == [10, 11, 20, 21, 30, 31]
    assert manager.token_ids(child) == [10, 11, 20, 21, 30, 31, 5]
    manager.close()


def test_a_file_of_an_older_version_is_measured_when_it_is_opened(tmp_path: Path) -> None:
    """Older files kept a session's growth as its changes stated it."""
    db = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    sqlite_schema.migrate(db, sqlite_schema.STEPS[:2])
    db.execute(
        "INSERT INTO sessions (number, id, owner, version, nbytes, head) VALUES (1,'s1','ada',1,7,x'aabb')"
    )
    db.execute("INSERT INTO blobs VALUES (5, zeroblob(20000))")
    db.execute("INSERT INTO items VALUES (1, 'state', zeroblob(300), NULL), (1, 'log', x'', 5)")
    db.execute("INSERT INTO tombstones VALUES ('s9', 'ada', 1e12), ('s8', 'bob', 1e12)")
    db.close()
    store = SqliteStore(tmp_path / "s.sqlite")
    assert store.usage("ada") == StoreUsage(1, 1024 + 2 + 64 + 5 + 300 + 64 + 3 + 20000, 1)
    assert store.usage("bob") == StoreUsage(0, 0, 1)
    store.close()


def test_rows_that_were_moved_to_another_session_are_an_error_and_not_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    manager = build_sessions(SqliteStore(path), host_state_bytes=0)
    ada, bob = manager.create(ADA).id, manager.create(BOB).id
    own = manager.create(BOB).id
    for session, owner, fill in ((ada, ADA, 1), (bob, BOB, 2), (own, BOB, 3)):
        idempotency_key = IdempotencyKey("key", "d")
        reply = result([fill] * 5000, fill=fill, reply=b"said")
        manager.keep(manager.begin_turn(session, owner, idempotency_key=idempotency_key), reply)
    db = manager.ledger.store._db  # type: ignore[attr-defined]  # the kind of store is known here
    numbers = dict(db.execute("SELECT id, number FROM sessions").fetchall())
    item = "SELECT data, blob FROM items WHERE session = ? AND name = ?"
    for source in (ada, own):
        for name in ("state/000000000001", "log/000000000000", "reply"):
            if source == own and name.startswith("log/"):
                continue
            before = db.execute(item, (numbers[bob], name)).fetchone()
            moved = db.execute(item, (numbers[source], name)).fetchone()
            put = "UPDATE items SET data = ?, blob = ? WHERE session = ? AND name = ?"
            db.execute(put, (*moved, numbers[bob], name))
            with pytest.raises(StoreFailed) as error:
                manager.stored(bob)
                manager.begin(bob, BOB, idempotency_key=IdempotencyKey("key", "d"))
            assert error.value.code == "store_corrupt"
            db.execute(put, (*before, numbers[bob], name))
        before = db.execute("SELECT head FROM sessions WHERE id = ?", (bob,)).fetchone()
        moved = db.execute("SELECT head FROM sessions WHERE id = ?", (source,)).fetchone()
        db.execute("UPDATE sessions SET head = ? WHERE id = ?", (*moved, bob))
        with pytest.raises(StoreFailed):
            manager.get(bob, BOB)
        db.execute("UPDATE sessions SET head = ? WHERE id = ?", (*before, bob))
    db.execute("UPDATE sessions SET owner = 'bob' WHERE id = ?", (ada,))
    with pytest.raises(StoreFailed):
        manager.get(ada, BOB)
    assert manager.say(bob, BOB, 1).turn == 2
    manager.close()


def test_a_step_that_fails_leaves_the_version_before(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    SqliteStore(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.Error):
        sqlite_schema.migrate(db, [*sqlite_schema.STEPS, "CREATE TABLE extra (a); SELECT nonsense;"])
    db.close()
    store = SqliteStore(path)
    assert store._db.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []
    store.close()
