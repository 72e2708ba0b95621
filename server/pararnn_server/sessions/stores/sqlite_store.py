"""A store in one SQLite file: durable when a commit returns, for one server at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from pararnn_server.metrics.tiers import Tier
from pararnn_server.sessions.stores.single_server import SingleServerStore
from pararnn_server.sessions.stores.sqlite_file import SqliteFile, failures
from pararnn_server.sessions.stores.sqlite_items import Linked, SqliteItems
from pararnn_server.sessions.stores.store import (
    MAX_TOMBSTONES,
    SESSION_BYTES,
    Change,
    Commit,
    StaleWrite,
    StoredHead,
    StoreUnusable,
    StoreUsage,
    items_bytes,
    named_in,
)

T = TypeVar("T")

DUE_AT_ONCE = 100
_HEAD_COLUMNS = "id, owner, version, head, expires_at"


class SqliteStore(SingleServerStore):
    """A store in one file. Raises StoreUnusable for a file that cannot be used, or that another server has.

    path: the file, made with its folder if missing. reserve_bytes: disk space kept free for deletions.
    """

    tier: Tier = "store"

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        self.path = path
        self._file = SqliteFile(path, reserve_bytes)
        self._db = self._file.db
        self._items = SqliteItems(self._db)
        try:
            # In memory from here on: the lock of the file keeps other writers out.
            self._usage, self._next_number = _count(self._db)
        except sqlite3.Error as error:
            self._file.close()
            raise StoreUnusable(f"{path} cannot be read: {error}") from error
        self._may_hold_waste = True

    @override
    def load(self, session_id: str) -> StoredHead | None:
        with failures():
            row = self._db.execute(
                f"SELECT {_HEAD_COLUMNS} FROM sessions WHERE id = ?", (session_id,)
            ).fetchone()
        return None if row is None else StoredHead(*row)

    @override
    def read(self, session_id: str, name: str) -> bytes | None:
        with failures():
            return self._items.read(session_id, name)

    @override
    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        with failures():
            return self._items.scan(session_id, prefix)

    @override
    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        with failures():
            return self._items.names(session_id, prefix)

    @override
    def find_alias(self, alias: str) -> str | None:
        with failures():
            row = self._db.execute("SELECT id FROM sessions WHERE alias = ?", (alias,)).fetchone()
        return None if row is None else row[0]

    @override
    def share(self, session_id: str, prefix: str) -> bool:
        with self._counted(), self._file.growing():
            return self._items.share(session_id, prefix)

    @override
    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        with self._counted(), self._file.growing():
            return [self._commit(commit) for commit in commits]

    @override
    def delete(self, session_id: str) -> None:
        def work() -> None:
            self._delete(session_id)
            self._forget("id = ?", session_id)

        self._freeing(work)

    @override
    def usage(self, owner: str | None = None) -> StoreUsage:
        if owner is not None:
            return self._usage.get(owner, StoreUsage(0, 0))
        return sum(self._usage.values(), StoreUsage(0, 0))

    @override
    def growth(self, change: Change) -> int:
        with failures():
            return self._growth(change, self._items.linked(change.links) or [])

    @override
    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        query = f"SELECT {_HEAD_COLUMNS} FROM sessions WHERE owner = ? AND id > ? ORDER BY id LIMIT ?"
        with failures():
            return [StoredHead(*row) for row in self._db.execute(query, (owner, after, limit))]

    @override
    def due(self, now: float, skip: int = 0) -> list[str]:
        query = "SELECT id FROM sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ? OFFSET ?"
        with failures():
            return [session_id for (session_id,) in self._db.execute(query, (now, DUE_AT_ONCE, skip))]

    @override
    def expire(self, session_ids: Sequence[str], now: float, forget_at: float) -> list[str]:
        # Some tombstones whose time has passed go with them.
        query = "SELECT owner FROM sessions WHERE id = ? AND expires_at <= ?"

        def work() -> list[str]:
            forgotten: list[str] = []
            for session_id in session_ids:
                row = self._db.execute(query, (session_id, now)).fetchone()
                if row is not None:
                    self._delete(session_id, purges=not forgotten)
                    self._leave_tombstone(session_id, row[0], forget_at)
                    forgotten.append(session_id)
            some = "id IN (SELECT id FROM tombstones WHERE forget_at <= ? LIMIT ?)"
            self._forget(some, now, 2 * DUE_AT_ONCE)
            return forgotten

        return self._freeing(work)

    @override
    def expired_owner(self, session_id: str, now: float) -> str | None:
        query = "SELECT owner FROM tombstones WHERE id = ? AND forget_at > ?"
        with failures():
            row = self._db.execute(query, (session_id, now)).fetchone()
        return None if row is None else row[0]

    @override
    def forget_tombstones(self, owner: str, count: int) -> None:
        self._freeing(lambda: self._forget_oldest(owner, count))

    @override
    def purge(self) -> bool:
        if not self._may_hold_waste:
            return False
        query = "SELECT EXISTS (SELECT 1 FROM loose) OR EXISTS (SELECT 1 FROM gone)"
        with failures():
            self._may_hold_waste = bool(self._db.execute(query).fetchone()[0])
        if self._may_hold_waste:
            self._may_hold_waste = self._file.freeing(self._purge)
        return self._may_hold_waste

    @override
    def idle(self) -> bool:
        # The log goes back into the file, and free bytes of both to the disk.
        return self._file.tidy()

    @override
    def close(self) -> None:
        self._file.close()

    def _purge(self) -> bool:
        """Remove one piece of items, else one piece of blobs."""
        # Items first: removing them lets go of blobs.
        row = self._db.execute("SELECT session FROM gone LIMIT 1").fetchone()
        if row is None:
            return self._items.purge_blobs()
        if not self._items.purge(row[0]):
            self._db.execute("DELETE FROM gone WHERE session = ?", row)
        return True

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the bytes of owners with the transaction, and restore the counts if it is undone."""
        usage = dict(self._usage)
        try:
            yield
        except BaseException:
            self._usage = usage
            raise

    def _freeing(self, work: Callable[[], T]) -> T:
        usage = dict(self._usage)

        def from_the_start() -> T:
            # The work may run again after a full disk, so counts begin anew.
            self._usage = dict(usage)
            return work()

        self._may_hold_waste = True
        with self._counted():
            return self._file.freeing(from_the_start)

    def _commit(self, commit: Commit) -> StaleWrite | None:
        for change in commit:
            if self._version(change.session_id) != change.base_version:
                return StaleWrite(change.session_id)
            if change.alias is not None and self.find_alias(change.alias) not in (None, change.session_id):
                return StaleWrite(change.session_id)
        # Removes come before links, and may take what a link leads to.
        linked = [self._items.linked(change.links) for change in commit]
        for change, items in zip(commit, linked, strict=True):
            if items is None:
                return StaleWrite(change.session_id)
        for change, items in zip(commit, linked, strict=True):
            self._apply(change, items or [])
        return None

    def _version(self, session_id: str) -> int:
        row = self._db.execute("SELECT version FROM sessions WHERE id = ?", (session_id,)).fetchone()
        return 0 if row is None else int(row[0])

    def _growth(self, change: Change, linked: Linked) -> int:
        sizes = {name: len(data) for name, data in {**change.puts, **change.shares}.items()}
        after = items_bytes(self._items.linked_sizes(linked) | sizes) + len(change.head)
        row = self._db.execute(
            "SELECT number, length(head) FROM sessions WHERE id = ?", (change.session_id,)
        ).fetchone()
        if row is None:
            return SESSION_BYTES + after
        number, head = row
        return after - self._items.counted(number, named_in(change)) - int(head)

    def _apply(self, change: Change, linked: Linked) -> None:
        number = self._write_head(change, self._growth(change, linked))
        self._may_hold_waste |= bool(change.removes or change.links or change.shares)
        self._items.remove(number, change.removes)
        self._items.put_linked(number, linked)
        self._items.put(number, change.puts)
        self._items.put_shared(number, change.shares)

    def _write_head(self, change: Change, growth: int) -> int:
        """Write the head and return the session's number."""
        fields = (change.base_version + 1, change.expires_at, growth, change.head, change.alias)
        if not change.base_version:
            # Numbers of sessions that are gone may still have items: none is given again.
            number, self._next_number = self._next_number, self._next_number + 1
            self._db.execute(
                "INSERT INTO sessions (version, expires_at, nbytes, head, alias, id, owner, number)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*fields, change.session_id, change.owner, number),
            )
            self._add(change.owner, 1, growth)
            return number
        [number] = self._db.execute(
            "UPDATE sessions SET version = ?, expires_at = ?, nbytes = nbytes + ?, head = ?,"
            " alias = coalesce(?, alias) WHERE id = ? RETURNING number",
            (*fields, change.session_id),
        ).fetchone()
        self._add(change.owner, 0, growth)
        return int(number)

    def _delete(self, session_id: str, *, purges: bool = True) -> None:
        """Remove a session's row. purges: one piece of its items too."""
        # With their pages free, what is written next finds room on a full disk.
        row = self._db.execute(
            "SELECT number, owner, nbytes FROM sessions WHERE id = ?", (session_id,)
        ).fetchone()
        if row is not None:
            number, owner, nbytes = row
            self._db.execute("DELETE FROM sessions WHERE number = ?", (number,))
            if not purges or self._items.purge(number):
                self._db.execute("INSERT INTO gone VALUES (?)", (number,))
            self._add(owner, -1, -nbytes)

    def _leave_tombstone(self, session_id: str, owner: str, forget_at: float) -> None:
        self._forget("id = ?", session_id)
        self._db.execute("INSERT INTO tombstones VALUES (?, ?, ?)", (session_id, owner, forget_at))
        self._add(owner, 0, 0, 1)
        if self.usage(owner).tombstones > MAX_TOMBSTONES:
            self._forget_oldest(owner, 1)

    def _forget_oldest(self, owner: str, count: int) -> None:
        oldest = "id IN (SELECT id FROM tombstones WHERE owner = ? ORDER BY forget_at LIMIT ?)"
        self._forget(oldest, owner, count)

    def _forget(self, which: str, *parameters: object) -> None:
        query = f"DELETE FROM tombstones WHERE {which} RETURNING owner"
        for (owner,) in self._db.execute(query, parameters).fetchall():
            self._add(owner, 0, 0, -1)

    def _add(self, owner: str, sessions: int, nbytes: int, tombstones: int = 0) -> None:
        self._usage[owner] = self.usage(owner) + StoreUsage(sessions, nbytes, tombstones)
        if self._usage[owner] == StoreUsage(0, 0):
            del self._usage[owner]


def _count(db: sqlite3.Connection) -> tuple[dict[str, StoreUsage], int]:
    """Count the bytes of each owner, and find the first free number; nobody else writes."""
    rows = db.execute(
        "SELECT owner, sum(sessions), sum(nbytes), sum(tombstones) FROM"
        " (SELECT owner, 1 AS sessions, nbytes, 0 AS tombstones FROM sessions"
        " UNION ALL SELECT owner, 0, 0, 1 FROM tombstones) GROUP BY owner"
    )
    usage = {owner: StoreUsage(*counts) for owner, *counts in rows}
    [highest] = db.execute(
        "SELECT max((SELECT coalesce(max(number), 0) FROM sessions),"
        " (SELECT coalesce(max(session), 0) FROM items), (SELECT coalesce(max(session), 0) FROM gone))"
    ).fetchone()
    return usage, highest + 1
