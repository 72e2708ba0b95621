"""Sessions in one file: durable when a commit returns, for one server at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.session import Tier
from pararnn_server.sessions.sqlite_schema import ForeignFile, SchemaTooNew, migrate
from pararnn_server.sessions.store import Change, Commit, StaleWrite, StoredHead, StoreUnusable, StoreUsage

DUE_AT_ONCE = 100
_HEAD_COLUMNS = "id, owner, version, head, expires_at"
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8000",
)


class SqliteStore:
    """A SessionStore. Raises StoreUnusable for a file that cannot be used, or that another server has.

    path: of the file, made with its folder if it is not there.
    """

    tier: Tier = "store"
    lease_seconds: float | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_tidy = True
        self._lock = _take_lock(path)
        try:
            self._db, self._usage = _open(path)
        except BaseException:
            os.close(self._lock)
            raise

    def load(self, session_id: str) -> StoredHead | None:
        """As of SessionStore."""
        with _failures():
            row = self._db.execute(
                f"SELECT {_HEAD_COLUMNS} FROM sessions WHERE id = ?", (session_id,)
            ).fetchone()
        return None if row is None else StoredHead(*row)

    def read(self, session_id: str, name: str) -> bytes | None:
        """As of SessionStore."""
        with _failures():
            row = self._db.execute(
                "SELECT data FROM items JOIN sessions ON session = number WHERE id = ? AND name = ?",
                (session_id, name),
            ).fetchone()
        return None if row is None else row[0]

    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        """As of SessionStore."""
        with _failures():
            rows = self._db.execute(
                "SELECT name, data FROM items JOIN sessions ON session = number"
                " WHERE id = ? AND name >= ? AND name < ? ORDER BY name",
                (session_id, prefix, prefix + "\U0010ffff"),
            ).fetchall()
        return dict(rows)

    def commit(self, commits: Sequence[Commit]) -> list[StaleWrite | None]:
        """As of SessionStore."""
        with self._transaction():
            return [self._commit(commit) for commit in commits]

    def delete(self, session_id: str) -> None:
        """As of SessionStore."""
        with self._transaction():
            self._db.execute("DELETE FROM tombstones WHERE id = ?", (session_id,))
            self._delete(session_id)

    def usage(self, owner: str | None = None) -> StoreUsage:
        """As of SessionStore."""
        if owner is not None:
            return self._usage.get(owner, StoreUsage(0, 0))
        usages = self._usage.values()
        return StoreUsage(sum(usage.sessions for usage in usages), sum(usage.nbytes for usage in usages))

    def page(self, owner: str, after: str, limit: int) -> list[StoredHead]:
        """As of SessionStore."""
        query = f"SELECT {_HEAD_COLUMNS} FROM sessions WHERE owner = ? AND id > ? ORDER BY id LIMIT ?"
        with _failures():
            return [StoredHead(*row) for row in self._db.execute(query, (owner, after, limit))]

    def due(self, now: float) -> list[str]:
        """As of SessionStore."""
        query = "SELECT id FROM sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"
        with _failures():
            return [session_id for (session_id,) in self._db.execute(query, (now, DUE_AT_ONCE))]

    def expire(self, session_id: str, now: float, forget_at: float) -> bool:
        """As of SessionStore. Tombstones whose time has passed go with it."""
        with self._transaction():
            row = self._db.execute(
                "SELECT owner FROM sessions WHERE id = ? AND expires_at <= ?", (session_id, now)
            ).fetchone()
            if row is None:
                return False
            self._delete(session_id)
            self._db.execute("DELETE FROM tombstones WHERE forget_at <= ?", (now,))
            self._db.execute("INSERT INTO tombstones VALUES (?, ?, ?)", (session_id, row[0], forget_at))
        return True

    def expired_owner(self, session_id: str, now: float) -> str | None:
        """As of SessionStore."""
        query = "SELECT owner FROM tombstones WHERE id = ? AND forget_at > ?"
        with _failures():
            row = self._db.execute(query, (session_id, now)).fetchone()
        return None if row is None else row[0]

    def claim(self, session_id: str) -> int:
        """As of SessionStore: the lock of the file keeps every other server out."""
        return 0

    def renew(self, fences: Mapping[str, int]) -> None:
        """As of SessionStore."""

    def release(self, session_id: str, fence: int) -> None:
        """As of SessionStore."""

    def idle(self) -> None:
        """What the log of writes holds goes into the file, and the log's bytes back to the disk."""
        if not self._is_tidy:
            with _failures():
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._is_tidy = True

    def close(self) -> None:
        """As of SessionStore."""
        with suppress(sqlite3.Error):
            self._db.close()
        os.close(self._lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Durable at its end, or undone."""
        usage = dict(self._usage)
        self._is_tidy = False
        try:
            with _failures():
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
        except BaseException:
            self._usage = usage
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise

    def _commit(self, commit: Commit) -> StaleWrite | None:
        for change in commit:
            row = self._db.execute(
                "SELECT version FROM sessions WHERE id = ?", (change.session_id,)
            ).fetchone()
            if (0 if row is None else row[0]) != change.base_version:
                return StaleWrite(change.session_id)
        for change in commit:
            self._apply(change)
        return None

    def _apply(self, change: Change) -> None:
        number = self._write_head(change)
        for name in change.removes:
            self._db.execute("DELETE FROM items WHERE session = ? AND name = ?", (number, name))
        self._db.executemany(
            "INSERT INTO items VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data",
            [(number, name, data) for name, data in change.puts.items()],
        )

    def _write_head(self, change: Change) -> int:
        """The session's number."""
        fields = (change.base_version + 1, change.expires_at, change.nbytes, change.head)
        if not change.base_version:
            cursor = self._db.execute(
                "INSERT INTO sessions (version, expires_at, nbytes, head, id, owner)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*fields, change.session_id, change.owner),
            )
            self._add(change.owner, 1, change.nbytes)
            return int(cursor.lastrowid or 0)
        number, nbytes = self._db.execute(
            "SELECT number, nbytes FROM sessions WHERE id = ?", (change.session_id,)
        ).fetchone()
        self._db.execute(
            "UPDATE sessions SET version = ?, expires_at = ?, nbytes = ?, head = ? WHERE number = ?",
            (*fields, number),
        )
        self._add(change.owner, 0, change.nbytes - nbytes)
        return int(number)

    def _delete(self, session_id: str) -> None:
        row = self._db.execute("SELECT owner, nbytes FROM sessions WHERE id = ?", (session_id,)).fetchone()
        if row is not None:
            self._db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            self._add(row[0], -1, -row[1])

    def _add(self, owner: str, sessions: int, nbytes: int) -> None:
        usage = self._usage.get(owner, StoreUsage(0, 0))
        after = StoreUsage(usage.sessions + sessions, usage.nbytes + nbytes)
        if after.sessions:
            self._usage[owner] = after
        else:
            self._usage.pop(owner, None)


def _take_lock(path: Path) -> int:
    """A file beside the store, locked until this process ends, however it ends."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(f"cannot write to {path.parent} ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreUnusable(
            f"another server uses {path}; end it, or give this one a directory of its own or the memory store"
        ) from None
    return lock


def _open(path: Path) -> tuple[sqlite3.Connection, dict[str, StoreUsage]]:
    """The file, and what each owner has in it: nobody else writes to it, so that it is counted once."""
    try:
        # Made here, so that nobody else may read it from the first byte on.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                db.execute(pragma).fetchall()
            migrate(db)
            rows = db.execute("SELECT owner, count(*), sum(nbytes) FROM sessions GROUP BY owner")
            usage = {owner: StoreUsage(sessions, nbytes) for owner, sessions, nbytes in rows}
        except BaseException:
            db.close()
            raise
    except SchemaTooNew:
        raise StoreUnusable(f"{path} was written by a newer version of this program") from None
    except ForeignFile:
        raise StoreUnusable(f"{path} is a database of another program") from None
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(f"{path} cannot be opened: {error}") from error
    return db, usage


@contextmanager
def _failures() -> Iterator[None]:
    """What sqlite says, in the words a client may read."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "is full" in text:
            message, code = "The session store is full; nothing of this is kept.", "store_full"
        elif "malformed" in text or "not a database" in text:
            message, code = "The session store's file is corrupt.", "store_corrupt"
        else:
            message, code = f"The session store failed: {text}.", "store_failed"
        raise StoreFailed(message, code=code) from error
