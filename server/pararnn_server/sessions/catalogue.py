"""Operations of owners on their sessions: create, list, read, update and delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pararnn_server.access.owner import Owner
from pararnn_server.errors import StoreFailed, TooManyRequests
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger, LoadedSession, decode_session, new_session_id
from pararnn_server.sessions.names import TURNS
from pararnn_server.sessions.record import decode_turn
from pararnn_server.sessions.session import SessionDetails, SessionInfo, SessionPage, TurnInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.turn import Repeated
from pararnn_server.sessions.turns import find_repeated

# Sessions that are listed in one piece.
PIECE_SESSIONS = 32


def create(
    ledger: Ledger, owner: Owner, metadata: Mapping[str, str] | None = None, ttl_seconds: float | None = None
) -> SessionInfo:
    """Create an empty session. Raises TooManyRequests when there are too many."""
    info = ledger.add(new_session_id(), ledger.new_record(owner, metadata, ttl_seconds), {}, None)
    assert info is not None, "a session without an alias is in nobody's way"
    return info


def get(ledger: Ledger, session_id: str, owner: Owner) -> SessionInfo:
    """Return the last committed turn."""
    return ledger.info(ledger.find(session_id, owner))


def fingerprint(ledger: Ledger, session_id: str, owner: Owner) -> str | None:
    """Return that of the model whose state the session holds; None for a session that cannot be read."""
    stored = ledger.stored(session_id, owner)
    try:
        return decode_session(stored).record.fingerprint
    except StoreFailed:
        # Such a session can still be deleted.
        return None


def view(
    ledger: Ledger, session_id: str, owner: Owner, idempotency_key: IdempotencyKey | None = None
) -> tuple[SessionInfo, Repeated | None, str]:
    """Return the last committed turn, the outcome of this write if it was that turn, the digest of tools."""
    session = ledger.find(session_id, owner)
    return ledger.info(session), find_repeated(ledger, session, idempotency_key), session.record.tools


def details(ledger: Ledger, session_id: str, owner: Owner) -> SessionDetails:
    """Return the session with its memory and its last turns."""
    session = ledger.find(session_id, owner)
    record, in_store = session.record, ledger.store.tier == "store"
    waits = record.state_bytes if session_id in ledger.host else 0
    kept = record.kept_bytes + record.snapshot_bytes
    return SessionDetails(
        info=ledger.info(session),
        memory={
            "device": record.state_bytes if session_id in ledger.turns else 0,
            "host": waits if in_store else kept,
            "store": kept if in_store else 0,
        },
        turns=history(ledger, session),
        snapshots=record.snapshots,
    )


def history(ledger: Ledger, session: LoadedSession) -> list[TurnInfo]:
    """Return the last 256 committed turns, oldest first."""
    return [decode_turn(data) for data in ledger.store.scan(session.session_id, TURNS).values()]


def page(ledger: Ledger, owner: Owner, limit: int = 20, after: str = "") -> Steps[SessionPage]:
    """Return up to `limit` sessions with an id above `after`, in order of ids.

    A session with a damaged head is named, and hides no other.
    """
    # An expired one ends here at the latest: how long the sweep takes, since others have much that expires,
    # shows in no list.
    found: list[SessionInfo] = []
    damaged: list[str] = []
    has_more = True
    while has_more and len(found) + len(damaged) < limit:
        wanted = min(PIECE_SESSIONS, limit - len(found) - len(damaged))
        # One more than is shown tells whether there are more.
        stored = ledger.store.page(owner.encode(), after, wanted + 1)
        ended = ledger.end_expired(stored[:wanted])
        for head in stored[:wanted]:
            after = head.session_id
            if after in ended:
                continue
            try:
                found.append(ledger.info(decode_session(head)))
            except StoreFailed:
                damaged.append(after)
        has_more = len(stored) > wanted
        yield
    return SessionPage(found, damaged, after, has_more, ledger.totals(owner))


def update(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    *,
    metadata: Mapping[str, str] | None = None,
    ttl_seconds: float | None = None,
    pinned: bool | None = None,
    expected_turn: int | None = None,
) -> SessionInfo:
    """Change the given fields. Raises Conflict while busy, TooManyRequests for too many pinned states."""
    with ledger.writing(session_id, owner, expected_turn) as session:
        record = ledger.used(session.record)
        if metadata is not None:
            record = replace(record, metadata=dict(metadata))
        if ttl_seconds is not None:
            record = replace(record, ttl_seconds=ttl_seconds)
        if pinned is not None:
            record = replace(record, pinned=pinned)
        if record.pinned and not session.record.pinned and not ledger.can_pin(owner):
            message = "this key's share of memory has no room for one more pinned state; unpin another"
            raise TooManyRequests(message, param="pinned", code="quota")
        # A pinned state is in memory from now on, not only after its next turn.
        snapshot = ledger.snapshot(session) if record.pinned else None
        return ledger.write(session, record, snapshot=snapshot)


def delete(ledger: Ledger, session_id: str, owner: Owner) -> str | None:
    """Delete the session. Return the request whose turn was in progress and can no longer commit."""
    ledger.stored(session_id, owner)
    ledger.quota.release(session_id)
    ledger.store.delete(session_id)
    ledger.host.drop(session_id)
    ledger.changes.note(session_id)
    # Its commit finds no turn and is refused.
    turn = ledger.turns.pop(session_id, None)
    if turn is None:
        return None
    ledger.release(session_id, turn.fence)
    return turn.request_id
