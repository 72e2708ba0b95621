"""The tables of the sqlite store, as the steps that lead from one version to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x50526E6E

_FIRST = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    version INTEGER NOT NULL,
    expires_at REAL,
    nbytes INTEGER NOT NULL,
    head BLOB NOT NULL
);
CREATE INDEX sessions_by_owner ON sessions (owner, id);
CREATE INDEX sessions_by_end ON sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE items (
    session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (session, name)
);
CREATE TABLE tombstones (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    forget_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX tombstones_by_end ON tombstones (forget_at);
"""

# gone: deleted sessions with items left to remove. loose: blobs that an item has let go of.
# Foreign keys are off since then: a session that is deleted leaves its items to be removed piece by piece.
_SHARED_ITEMS = """
ALTER TABLE sessions ADD COLUMN alias TEXT;
CREATE UNIQUE INDEX sessions_by_alias ON sessions (alias) WHERE alias IS NOT NULL;
ALTER TABLE items ADD COLUMN blob INTEGER;
CREATE INDEX items_by_blob ON items (blob) WHERE blob IS NOT NULL;
CREATE TABLE blobs (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE loose (blob INTEGER PRIMARY KEY);
CREATE TABLE gone (session INTEGER PRIMARY KEY);
CREATE TRIGGER item_removed AFTER DELETE ON items WHEN old.blob IS NOT NULL BEGIN
    INSERT OR IGNORE INTO loose VALUES (old.blob);
END;
CREATE TRIGGER item_replaced AFTER UPDATE OF blob ON items
WHEN old.blob IS NOT NULL AND old.blob IS NOT new.blob BEGIN
    INSERT OR IGNORE INTO loose VALUES (old.blob);
END;
"""

# nbytes: from here on the counted bytes of the rows, as store.py defines them.
_MEASURED = """
UPDATE sessions SET nbytes = 1024 + length(head) + (
    SELECT coalesce(sum(64 + length(name) + coalesce(length(blobs.data), length(items.data))), 0)
    FROM items LEFT JOIN blobs ON blob = blobs.number WHERE session = sessions.number
);
CREATE INDEX tombstones_by_owner ON tombstones (owner, forget_at);
"""

STEPS: Sequence[str] = (_FIRST, _SHARED_ITEMS, _MEASURED)
"""Step i leads from version i to i + 1. A step that was released is never changed."""


class SchemaTooNew(Exception):
    """A file that a newer version of the program wrote."""


class ForeignFile(Exception):
    """A database of another program."""


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Bring the file to the newest version, each step wholly or not at all.

    Raises SchemaTooNew and ForeignFile.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    # A new file has no application id yet, but no tables either.
    if application != APPLICATION_ID and tables:
        raise ForeignFile
    if version > len(steps):
        raise SchemaTooNew
    for number, step in enumerate(steps[version:], version + 1):
        # executescript ends a transaction that is open, so that the script holds its own.
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number};"
            f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )
