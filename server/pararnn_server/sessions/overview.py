"""Operations of the operator: the sessions of all keys, and what each key holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pararnn_server.access.owner import Owner
from pararnn_server.errors import StoreFailed
from pararnn_server.sessions.ledger import Ledger, decode_session
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.stores.store import StoredHead, StoreUsage

PIECE_SESSIONS = 32


@dataclass(frozen=True, slots=True)
class OwnedSession:
    """A session with the name of the key that it belongs to."""

    key: str
    info: SessionInfo


@dataclass(frozen=True, slots=True)
class KeyMemory:
    """The memory of one key. host_state_bytes: states of its waiting sessions in host memory."""

    host_state_bytes: int
    store: StoreUsage


def begin_watch(ledger: Ledger) -> None:
    """Note the ids of sessions that change from now on, for `changed_sessions`."""
    ledger.changes.begin()


def end_watch(ledger: Ledger) -> None:
    """Note them no more."""
    ledger.changes.end()


def all_sessions(ledger: Ledger, keys: Iterable[str]) -> Steps[list[OwnedSession]]:
    """Return the sessions of these keys that can be read.

    One that changes meanwhile is noted: `changed_sessions` has its last form.
    """
    found: list[OwnedSession] = []
    for key in keys:
        after = ""
        while stored := ledger.store.page(Owner(key).encode(), after, PIECE_SESSIONS):
            found += [session for head in stored if (session := _read(ledger, key, head)) is not None]
            after = stored[-1].session_id
            yield
    return found


def changed_sessions(
    ledger: Ledger, keys: Mapping[str, str], limit: int
) -> Steps[dict[str, OwnedSession | None]]:
    """Return up to `limit` sessions that changed since the last call; None for one that is gone.

    keys: by encoded owner. A session of another owner, such as a stored response, is left out.
    """
    found: dict[str, OwnedSession | None] = {}
    taken = ledger.changes.take(limit)
    for number, session_id in enumerate(taken, 1):
        try:
            head = ledger.store.load(session_id)
        except StoreFailed:
            # The store answers again one day: what was not read is read then.
            for left in taken[number - 1 :]:
                ledger.changes.note(left)
            raise
        if head is None or head.owner in keys:
            found[session_id] = None if head is None else _read(ledger, keys[head.owner], head)
        if number % PIECE_SESSIONS == 0:
            yield
    return found


def memory_of_keys(ledger: Ledger, keys: Iterable[str]) -> dict[str, KeyMemory]:
    """Return the bytes of each of these keys in host memory and in the store."""
    return {key: KeyMemory(ledger.host.owned_bytes(Owner(key)), ledger.quota.usage(key)) for key in keys}


def _read(ledger: Ledger, key: str, head: StoredHead) -> OwnedSession | None:
    try:
        return OwnedSession(key, ledger.info(decode_session(head)))
    except StoreFailed:
        # A damaged one has nothing to show; its owner's list names it.
        return None
