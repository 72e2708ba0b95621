"""All sessions in memory, kept in step with the store while somebody watches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pararnn_server.access.owner import Owner
from pararnn_server.http.append import session_body
from pararnn_server.models.served_model import ServedModel
from pararnn_server.sessions import overview
from pararnn_server.sessions.overview import OwnedSession
from pararnn_server.sessions.session import SessionInfo

Json = dict[str, Any]
CHANGES_AT_ONCE = 512
"""Sessions that one refresh reads; the others wait for the next."""


@dataclass(frozen=True, slots=True)
class Row:
    """One session. data: the schema `MonitoredSession` as JSON, encoded once for all who watch."""

    key: str
    info: SessionInfo
    data: bytes


@dataclass(slots=True)
class Changes:
    """Rows that are new or different, and ids that are gone, by the key that they belong to."""

    rows: list[Row] = field(default_factory=list)
    removed: list[tuple[str, str]] = field(default_factory=list)


class SessionTable:
    """Rows of all sessions by id. For the event loop only.

    keys: names of the keys whose sessions there can be.
    """

    def __init__(self, model: ServedModel, keys: Iterable[str]) -> None:
        # All models keep their sessions in one store: any of them reads it.
        self._model = model
        self._keys = {Owner(key).encode(): key for key in keys}
        self._by_key: dict[str, dict[str, Row]] = {}
        self._key_of: dict[str, str] = {}

    @property
    def rows(self) -> Iterator[Row]:
        """Rows of all keys."""
        return (row for rows in self._by_key.values() for row in rows.values())

    def rows_of(self, key: str | None) -> list[Row]:
        """Return the rows of one key, or of all."""
        return list(self.rows) if key is None else list(self._by_key.get(key, {}).values())

    async def load(self) -> None:
        """Read all sessions, and begin to follow their changes."""
        await self._model.ask(overview.begin_watch)
        for session in await self._model.ask(overview.all_sessions, self._keys.values()):
            self._put(session)

    async def close(self) -> None:
        """End following changes."""
        await self._model.ask(overview.end_watch)

    async def refresh(self) -> Changes:
        """Read the sessions that have changed, up to CHANGES_AT_ONCE of them."""
        changes = Changes()
        found = await self._model.ask(overview.changed_sessions, self._keys, CHANGES_AT_ONCE)
        self._apply(found, changes)
        return changes

    def _apply(self, found: Mapping[str, OwnedSession | None], changes: Changes) -> None:
        for session_id, session in found.items():
            if session is not None:
                changes.rows.append(self._put(session))
            elif (key := self._key_of.pop(session_id, None)) is not None:
                del self._by_key[key][session_id]
                changes.removed.append((key, session_id))

    def _put(self, session: OwnedSession) -> Row:
        row = Row(session.key, session.info, encoded(row_body(session.key, session.info)))
        self._by_key.setdefault(session.key, {})[session.info.id] = row
        self._key_of[session.info.id] = session.key
        return row


def row_body(key: str, info: SessionInfo) -> Json:
    """Return the fields of the schema `MonitoredSession`."""
    return session_body(info) | {"owner": key}


def encoded(value: object) -> bytes:
    """Return JSON in ASCII on one line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
