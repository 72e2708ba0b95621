"""Items of the sqlite store: bytes of one session, or blobs that several sessions share."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping

from pararnn_server.sessions.stores.store import ITEM_BYTES, LINKED_BYTES, PIECE_BYTES, PIECE_ITEMS

_OF_SESSION = "FROM items JOIN sessions ON session = sessions.number LEFT JOIN blobs ON blob = blobs.number"
_WITH_PREFIX = f"{_OF_SESSION} WHERE id = ? AND name >= ? AND name < ? ORDER BY name"
_PUT = (
    "INSERT INTO items (session, name, data, blob) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET data = excluded.data, blob = excluded.blob"
)
Linked = list[tuple[str, bytes, int | None]]


class SqliteItems:
    """Items in their tables. Writes happen in the caller's transaction.

    session: the number of a row of `sessions`.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def read(self, session_id: str, name: str) -> bytes | None:
        """Return one item."""
        row = self._db.execute(
            f"SELECT coalesce(blobs.data, items.data) {_OF_SESSION} WHERE id = ? AND name = ?",
            (session_id, name),
        ).fetchone()
        return None if row is None else row[0]

    def scan(self, session_id: str, prefix: str) -> dict[str, bytes]:
        """Return items by name, in order."""
        query = f"SELECT name, coalesce(blobs.data, items.data) {_WITH_PREFIX}"
        return dict(self._db.execute(query, (session_id, prefix, prefix + "\U0010ffff")).fetchall())

    def names(self, session_id: str, prefix: str) -> dict[str, int]:
        """Return sizes by name, in order; no item is read."""
        query = f"SELECT name, coalesce(length(blobs.data), length(items.data)) {_WITH_PREFIX}"
        return dict(self._db.execute(query, (session_id, prefix, prefix + "\U0010ffff")).fetchall())

    def counted(self, session: int, names: Collection[str]) -> int:
        """Return the counted bytes of the items with these names; no item is read."""
        [nbytes] = self._db.execute(
            "SELECT coalesce(sum(? + length(name) + coalesce(length(blobs.data), length(items.data))), 0)"
            " FROM items LEFT JOIN blobs ON blob = blobs.number"
            " WHERE session = ? AND name IN (SELECT value FROM json_each(?))",
            # One parameter for all names: sqlite bounds how many a statement takes.
            (ITEM_BYTES, session, json.dumps([*names])),
        ).fetchone()
        return int(nbytes)

    def linked_sizes(self, linked: Linked) -> dict[str, int]:
        """Return the bytes of linked items by name; no blob is read."""
        query = "SELECT length(data) FROM blobs WHERE number = ?"
        return {
            name: len(data) if blob is None else self._db.execute(query, (blob,)).fetchone()[0]
            for name, data, blob in linked
        }

    def put(self, session: int, items: Mapping[str, bytes]) -> None:
        """Write items that no other session shares."""
        self._db.executemany(_PUT, [(session, name, data, None) for name, data in items.items()])

    def put_shared(self, session: int, items: Mapping[str, bytes]) -> None:
        """Write items that others may link to: blobs where the bytes are worth a row of their own."""
        for name, data in items.items():
            blob = self._add_blob(data) if len(data) >= LINKED_BYTES else None
            self._db.execute(_PUT, (session, name, data if blob is None else b"", blob))

    def linked(self, links: Mapping[str, tuple[str, str]]) -> Linked | None:
        """Return the items that links lead to, for `put_linked`; None if one is missing."""
        query = f"SELECT items.data, items.blob {_OF_SESSION} WHERE id = ? AND name = ?"
        rows = [(name, self._db.execute(query, source).fetchone()) for name, source in links.items()]
        found = [(name, row[0], row[1]) for name, row in rows if row is not None]
        return found if len(found) == len(rows) else None

    def put_linked(self, session: int, linked: Linked) -> None:
        """Write items that share the blob of the linked one, or are a copy of it."""
        self._db.executemany(_PUT, [(session, *item) for item in linked])

    def remove(self, session: int, names: Iterable[str]) -> None:
        """Remove items; a missing one is no error."""
        self._db.executemany(
            "DELETE FROM items WHERE session = ? AND name = ?", [(session, name) for name in names]
        )

    def share(self, session_id: str, prefix: str) -> bool:
        """Turn one piece of items into blobs. Return True if some may be left."""
        rows = self._db.execute(
            f"SELECT items.rowid, length(items.data) {_OF_SESSION}"
            " WHERE id = ? AND name >= ? AND name < ? AND blob IS NULL AND length(items.data) >= ?",
            (session_id, prefix, prefix + "\U0010ffff", LINKED_BYTES),
        ).fetchall()
        piece = _piece(rows)
        for row in piece:
            [data] = self._db.execute("SELECT data FROM items WHERE rowid = ?", (row,)).fetchone()
            blob = self._add_blob(data)
            self._db.execute("UPDATE items SET data = x'', blob = ? WHERE rowid = ?", (blob, row))
        return len(piece) < len(rows)

    def purge(self, session: int) -> bool:
        """Remove one piece of a session's items. Return True if more are left."""
        # One row too many shows that more are left.
        rows = self._db.execute(
            "SELECT rowid, length(data) FROM items WHERE session = ? LIMIT ?", (session, PIECE_ITEMS + 1)
        ).fetchall()
        piece = _piece(rows)
        self._db.executemany("DELETE FROM items WHERE rowid = ?", [(row,) for row in piece])
        return len(piece) < len(rows)

    def purge_blobs(self) -> bool:
        """Remove one piece of the blobs that no item uses. Return True if more are left."""
        rows = self._db.execute(
            "SELECT blob, coalesce(length(data), 0) FROM loose LEFT JOIN blobs ON blob = number LIMIT ?",
            (PIECE_ITEMS + 1,),
        ).fetchall()
        piece = [(row,) for row in _piece(rows)]
        self._db.executemany(
            # Another session may still use a blob that one item has let go of.
            "DELETE FROM blobs WHERE number = ? AND NOT EXISTS (SELECT 1 FROM items WHERE blob = number)",
            piece,
        )
        self._db.executemany("DELETE FROM loose WHERE blob = ?", piece)
        return len(piece) < len(rows)

    def _add_blob(self, data: bytes) -> int:
        return int(self._db.execute("INSERT INTO blobs (data) VALUES (?)", (data,)).lastrowid or 0)


def _piece(rows: Iterable[tuple[int, int]]) -> list[int]:
    """Return the first rows whose bytes together are one piece, and at least one."""
    piece: list[int] = []
    nbytes = 0
    for row, size in rows:
        if piece and (nbytes + size > PIECE_BYTES or len(piece) == PIECE_ITEMS):
            break
        piece.append(row)
        nbytes += size
    return piece
