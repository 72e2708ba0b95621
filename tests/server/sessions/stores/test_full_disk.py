"""Full disks: deletions always succeed, turns do after them, and bytes go back to the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.stores.disk_reserve import DiskReserve
from pararnn_server.sessions.stores.sqlite_file import SPARE_PAGES
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import PIECE_BYTES, Change, StoreUnusable

from tests.server.sessions.stores.full_disk import change, fill, settle

MOUNT = (
    'mount -t tmpfs -o size=24m none "$1" && exec "$2" -m tests.server.sessions.stores.full_disk "$1" "$3"'
)


def can_mount(folder: Path) -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    return (
        shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("nbytes", [60_000, 300_000, 2_000_000])
def test_a_full_disk_gives_way_to_deletions_and_then_to_turns(nbytes: int, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a small disk")
    command = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(tmp_path), sys.executable, str(nbytes)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("is_expiry", [False, True])
def test_a_file_that_may_not_grow_takes_deletions_and_then_turns(is_expiry: bool, tmp_path: Path) -> None:
    def open_full() -> SqliteStore:
        store = SqliteStore(tmp_path / "s.sqlite")
        store._db.execute("PRAGMA max_page_count = 2000").fetchall()
        return store

    store = open_full()
    count = fill(store, 100_000)
    store.close()
    store = open_full()
    for number in range(count):
        if is_expiry:
            assert store.expire([f"s{number}"], 2e12, 3e12) == [f"s{number}"]
        else:
            store.delete(f"s{number}")
        if number == 0:
            store.commit([[change("new", os.urandom(80_000))]])
            store.delete("new")
    settle(store)
    assert store.usage().sessions == 0
    assert (tmp_path / "s.sqlite").stat().st_size < (SPARE_PAGES + 100) * 4096
    store.close()


def test_what_was_deleted_goes_in_pieces_and_back_to_the_disk(tmp_path: Path) -> None:
    store, path = SqliteStore(tmp_path / "s.sqlite"), tmp_path / "s.sqlite"
    items = {f"log/{number:04d}": os.urandom(200_000) for number in range(100)}
    store.commit([[Change("s1", "ada", 0, b"head", shares=items)]])
    store.commit([[change("s2", os.urandom(100_000))]])
    while store.idle():
        pass
    before = path.stat().st_size
    store.delete("s1")
    pieces = 0
    while store.purge():
        pieces += 1
        # Each piece frees one piece of bytes; what it writes is little of that.
        assert (tmp_path / "s.sqlite-wal").stat().st_size < (pieces + 1) * PIECE_BYTES // 2
    assert pieces >= 100 * 200_000 // PIECE_BYTES
    settle(store)
    assert path.stat().st_size < before // 4
    assert store.read("s2", "state") is not None
    store.close()


def test_a_reserve_takes_half_of_what_is_free_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.reserve"
    reserve = DiskReserve(path, 1 << 20)
    assert not reserve.give_up()
    reserve.fill()
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert reserve.give_up()
    assert path.stat().st_blocks == 0
    free = os.statvfs_result((4096, 4096, 100, 50, 50, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    reserve.fill()
    assert path.stat().st_size == 25 * 4096


@pytest.mark.parametrize("what", ["folder", "file", "log", "replaced"])
def test_a_file_that_is_gone_takes_no_turn(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = SqliteStore(folder / "s.sqlite")
    store.commit([[change("s1", b"one")]])
    moved = tmp_path / "moved"
    if what == "folder":
        folder.rename(moved)
    elif what == "log":
        (folder / "s.sqlite-wal").rename(moved)
    else:
        (folder / "s.sqlite").rename(moved)
        if what == "replaced":
            shutil.copy(moved, folder / "s.sqlite")
    for write in (
        lambda: store.commit([[change("s1", b"two", 1)]]),
        lambda: store.delete("s1"),
    ):
        with pytest.raises(StoreFailed) as gone:
            write()
        assert gone.value.code == "store_gone"
    if what == "folder":
        moved.rename(folder)
        store.commit([[change("s1", b"two", 1)]])
        assert store.read("s1", "state") == b"two"
    store.close()


def test_a_file_that_vanishes_in_a_commit_is_noticed_before_the_turn_is_answered(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data" / "s.sqlite")
    store.commit([[change("s1", b"one")]])

    class Vanishing(dict[str, bytes]):
        def items(self) -> Any:
            shutil.rmtree(tmp_path / "data")
            return super().items()

    with pytest.raises(StoreFailed) as gone:
        store.commit([[Change("s2", "ada", 0, b"head", puts=Vanishing(a=b"lost"))]])
    assert gone.value.code == "store_gone"
    store.close()


def test_an_empty_file_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.touch()
    with pytest.raises(StoreUnusable, match="is empty"):
        SqliteStore(path)
    assert path.stat().st_size == 0
    path.unlink()
    store = SqliteStore(path)
    store.commit([[change("s1", b"one")]])
    path.unlink()
    with pytest.raises(StoreUnusable, match="another server uses"):
        SqliteStore(path)
    store._file._lock, lock = os.open(path.parent, os.O_RDONLY), store._file._lock
    os.close(lock)
    with pytest.raises(StoreUnusable, match=r"is gone, but s\.sqlite-wal"):
        SqliteStore(path)
    store.close()


def test_a_store_has_its_name_from_the_moment_that_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    (tmp_path / "s.sqlite.new").write_bytes(b"of a server that died at its first start")
    store = SqliteStore(path)
    assert not (tmp_path / "s.sqlite.new").exists()
    assert store._db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    store.close()
