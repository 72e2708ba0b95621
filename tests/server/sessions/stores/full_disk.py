"""A disk that is full, in a process of its own: sessions until it is, a restart, deletions, turns.

Usage: python -m tests.server.sessions.stores.full_disk FOLDER STATE_BYTES
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import Change


def change(name: str, data: bytes, version: int = 0) -> Change:
    return Change(name, "ada", version, b"head", expires_at=1e12, puts={"state": data})


def fill(store: SqliteStore, nbytes: int) -> int:
    """Sessions until the disk is full, the last ones ever smaller."""
    count = 0
    while nbytes > 100:
        try:
            store.commit([[change(f"s{count}", os.urandom(nbytes))]])
            count += 1
        except StoreFailed as error:
            if error.code != "store_full":
                raise
            nbytes //= 2
    return count


def settle(store: SqliteStore) -> None:
    while store.purge():
        pass
    while store.idle():
        pass


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.suffix != ".ballast")


def main(folder: Path, nbytes: int) -> None:
    path, reserve = folder / "s.sqlite", 2 << 20
    store = SqliteStore(path, reserve)
    count = fill(store, nbytes)
    # Other programs take what is left.
    with (folder / "other.ballast").open("wb", 0) as ballast:
        while True:
            try:
                ballast.write(bytes(512))
            except OSError:
                break
    store.close()
    store = SqliteStore(path, reserve)
    assert store.usage().sessions == count
    used = disk_bytes(folder)
    for number in range(count - 1, -1, -1):
        # Each deletion succeeds, the smallest sessions first, and a turn of another session after each.
        store.delete(f"s{number}")
        if number == count // 2:
            settle(store)
            store.commit([[change("new", os.urandom(nbytes))]])
            store.delete("new")
    settle(store)
    assert store.usage().sessions == 0
    assert disk_bytes(folder) < used // 2, (disk_bytes(folder), used)
    assert fill(store, nbytes) >= count // 2
    assert len(store.expire([f"s{number}" for number in range(32)], 2e12, 3e12)) > 0
    store.close()
    print(f"{count} sessions, {used} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
