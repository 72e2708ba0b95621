"""The file of the sqlite store: created whole, locked, watched, with room for deletions on a full disk."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.stores.disk_reserve import DiskReserve
from pararnn_server.sessions.stores.sqlite_schema import ForeignFile, SchemaTooNew, migrate
from pararnn_server.sessions.stores.store import StoreUnusable

T = TypeVar("T")

# sqlite empties its log at 4 MiB; a log beyond this says that the file cannot grow.
LOG_BYTES = 6 << 20
# Pages given back to the disk in one piece, and pages kept for the next writes.
VACUUM_PAGES = 256
SPARE_PAGES = 256
# A file without room to shrink is rewritten once, at the first start, up to this size.
REWRITTEN_BYTES = 64 << 20

# secure_delete: to overwrite every page that is freed takes as much room in the log as the pages have.
_PRAGMAS = (
    "PRAGMA secure_delete = FAST",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cache_size = -8000",
)
_FULL = ("is full", "disk I/O error")


class SqliteFile:
    """The open database file. Raises StoreUnusable if it cannot be used or another server has it.

    path: the file, made with its folder if missing. reserve_bytes: disk space kept free for deletions.
    """

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._log_identity: tuple[int, int] | None = None
        self._reserve = DiskReserve(path.with_suffix(".reserve"), reserve_bytes)
        self._is_tidy = True
        self._cannot_grow = False
        # Before the file is touched: another server may have it open.
        self._lock = _take_lock(path)
        try:
            self.db = self._open()
            self._identity = _identity(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._reserve.fill()

    @contextmanager
    def growing(self) -> Iterator[None]:
        """Run a transaction: durable at its end, or rolled back. Raises while the file cannot grow."""
        if self._cannot_grow:
            with failures():
                self._checkpoint()
        with self._transaction():
            yield

    def freeing(self, work: Callable[[], T]) -> T:
        """Do the work in a transaction; on a full disk, once more after each way to make room."""
        for make_room in (self._reserve.give_up, self._empty_log):
            try:
                with self._transaction():
                    return work()
            except StoreFailed as error:
                if not _is_for_room(error):
                    raise
                make_room()
        with self._transaction():
            return work()

    def tidy(self) -> bool:
        """Empty the log and give one piece of free pages back. Return True if more are left."""
        if self._is_tidy:
            return False
        with failures():
            spare = self._count("freelist_count") - SPARE_PAGES
            if spare > 0 and self._count("auto_vacuum"):
                # A script is stepped to its end; a statement without columns only once, which is one page.
                self.db.executescript(f"PRAGMA incremental_vacuum({min(spare, VACUUM_PAGES)})")
            self._checkpoint()
        self._is_tidy = spare <= VACUUM_PAGES
        if self._is_tidy:
            self._reserve.fill()
        return not self._is_tidy

    def close(self) -> None:
        """Close the database and give the lock back."""
        # Every commit is durable already; the lock must be given back in any case.
        with suppress(sqlite3.Error):
            self.db.close()
        os.close(self._lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check_is_there()
        self._is_tidy = False
        try:
            with failures():
                self.db.execute("BEGIN IMMEDIATE")
                yield
                self.db.execute("COMMIT")
        except BaseException:
            # The first error is the one to report; sqlite rolls back by itself when the file is opened again.
            with suppress(sqlite3.Error):
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
            raise
        self._check_is_there()
        self._watch_log()

    def _watch_log(self) -> None:
        """Stop growing commits while the log is too long, and try to empty it."""
        # A log that sqlite cannot empty grows with every commit.
        if _size(self._log) > LOG_BYTES:
            self._cannot_grow = True
            self._empty_log()

    def _empty_log(self) -> None:
        # The log stays too long, and growing commits stay refused until a later try empties it.
        with suppress(sqlite3.Error):
            self._checkpoint()

    def _checkpoint(self) -> None:
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._cannot_grow = False

    def _check_is_there(self) -> None:
        """Raise StoreFailed if the file was removed or replaced."""
        # Such a file takes every write and keeps none.
        log = _identity(self._log)
        if _identity(self._path) != self._identity or (self._log_identity or log) != log:
            raise StoreFailed(
                "The session store's file was removed or replaced while the server runs; nothing of this is"
                f" kept. Put {self._path.name} back with the files beside it, or restart the server.",
                code="store_gone",
            )
        self._log_identity = log

    def _count(self, pragma: str) -> int:
        return int(self.db.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        path = self._path
        try:
            if not path.exists():
                self._create()
            if not _size(path):
                raise StoreUnusable(
                    f"{path} is empty: a store never is, so its content was lost. Put a copy in its place, or"
                    " move it away to begin with no sessions"
                )
            return self._connect_or_make_room()
        except SchemaTooNew:
            raise StoreUnusable(f"{path} was written by a newer version of this program") from None
        except ForeignFile:
            raise StoreUnusable(f"{path} is a database of another program") from None
        except (OSError, sqlite3.Error) as error:
            raise StoreUnusable(f"{path} cannot be opened: {error}") from error

    def _create(self) -> None:
        """Create the file."""
        # Under another name first: so it is complete from the moment that it has its own.
        if _size(self._log):
            raise StoreUnusable(
                f"{self._path} is gone, but {self._log.name} beside it holds its last turns. Put the file"
                " back, or move that away too"
            )
        made = self._path.with_name(self._path.name + ".new")
        made.unlink(missing_ok=True)
        # Made here, so that nobody else may read it from the first byte on.
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(made, isolation_level=None)
        try:
            # Before the first table: later it takes a VACUUM of the whole file.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            migrate(db)
        finally:
            db.close()
        made.rename(self._path)

    def _connect_or_make_room(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.Error as error:
            if not any(word in str(error) for word in _FULL) or not self._reserve.give_up():
                raise
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # Opened by the thread that starts the server, used by the store's thread.
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in _PRAGMAS:
                db.execute(pragma).fetchall()
            migrate(db)
            if not db.execute("PRAGMA auto_vacuum").fetchone()[0] and _size(self._path) <= REWRITTEN_BYTES:
                # Without room for a copy the file is used as it is, and shrinks at a later start.
                with suppress(sqlite3.Error):
                    _make_shrinkable(db)
        except BaseException:
            db.close()
            raise
        return db


def _make_shrinkable(db: sqlite3.Connection) -> None:
    """Rewrite the file so that it can give pages back, which files of the first version cannot."""
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def failures() -> Iterator[None]:
    """Turn sqlite's errors into StoreFailed."""
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


def _is_for_room(error: StoreFailed) -> bool:
    return any(word in str(error.__cause__) for word in _FULL)


def _take_lock(path: Path) -> int:
    """Lock a file beside the store until this process ends, however it ends."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(f"cannot write to {path.parent} ({error.strerror})") from error
    try:
        # The kernel gives it back with the process, so no stale lock is left after a kill.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreUnusable(
            f"another server uses {path}; end it, or give this one a directory of its own or the memory store"
        ) from None
    return lock


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
