"""Export and import of sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from pararnn_server.access.owner import Owner
from pararnn_server.errors import BadRequest
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger, LoadedSession, new_session_id
from pararnn_server.sessions.names import LOG, REPLY, place_of, state_name
from pararnn_server.sessions.record import SessionRecord
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.steps import Steps, finish
from pararnn_server.sessions.stores.store import PIECE_BYTES
from pararnn_server.sessions.token_log import log_pieces, read_log_in_steps
from pararnn_server.sessions.turns import find_repeated

# What a server that died has staged is gone after the time.
STAGING_SECONDS = 3600.0
# Times that a log is read whose session changes meanwhile.
READS = 3


def export(ledger: Ledger, session_id: str, owner: Owner, *, tokens: bool = False) -> Steps[StateFile]:
    """Return the last commit. tokens: with its log; BadRequest if that is not whole."""
    # A log that others write to meanwhile is read again, in the end in one piece.
    for attempt in range(1, READS + 1):
        session = ledger.find(session_id, owner)
        steps = _read(ledger, session, tokens)
        if attempt < READS:
            file = yield from steps
        else:
            file = finish(steps)
        # A turn may have committed between two pieces.
        if ledger.find(session_id, owner).version == session.version:
            break
    return file


def _read(ledger: Ledger, session: LoadedSession, tokens: bool) -> Steps[StateFile]:
    record, snapshot = session.record, ledger.snapshot(session)
    ids = None
    if tokens:
        if record.log_start:
            message = f"tokens: the first {record.log_start} ids were not in the session's import."
            raise BadRequest(message, param="tokens")
        sizes = ledger.log_sizes(session)
        ids = yield from read_log_in_steps(
            sizes, partial(ledger.item, session), 0, record.num_tokens, record.owner
        )
    return StateFile(
        model=record.model,
        fingerprint=record.fingerprint,
        tokenizer=ledger.kind.tokenizer,
        build=record.build,
        build_changed=record.build_changed,
        turn=record.turn,
        num_tokens=record.num_tokens,
        pending_ids=record.pending_ids,
        log_start=record.log_start,
        metadata=record.metadata,
        snapshot=snapshot,
        token_ids=ids,
        # An empty session forgets them: its next first turn reads its own.
        tools=record.tools if record.num_tokens else "",
    )


def import_new(
    ledger: Ledger, owner: Owner, file: StateFile, ttl_seconds: float | None
) -> Steps[SessionInfo]:
    """Create a session from an exported one."""
    record = _standing_at(ledger.new_record(owner, file.metadata, ttl_seconds), file, file.turn)
    staging, session_id = _Staging(ledger, owner), new_session_id()
    try:
        links = yield from staging.put_log(file)
        items = _items(session_id, record, file)
        info = ledger.add(session_id, record, items, file.snapshot, links=links)
    finally:
        staging.remove()
    assert info is not None, "a session without an alias is in nobody's way"
    return info


def import_into(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    file: StateFile,
    idempotency_key: IdempotencyKey | None = None,
    expected_turn: int | None = None,
) -> Steps[SessionInfo]:
    """Commit one more turn, which replaces state and log by the imported ones. It cannot be undone."""
    found = ledger.find(session_id, owner)
    if find_repeated(ledger, found, idempotency_key) is not None:
        return ledger.info(found)
    staging = _Staging(ledger, owner)
    try:
        with ledger.writing(session_id, owner, expected_turn) as session:
            ledger.check_model(session.record)
            links = yield from staging.put_log(file)
            record = _standing_at(ledger.used(session.record), file, session.record.turn + 1)
            removes = [*ledger.store.names(session_id, LOG), REPLY]
            removes += [state_name(turn) for turn in session.record.kept_turns]
            return ledger.write(
                session,
                replace(record, idempotency_key=idempotency_key),
                _items(session_id, record, file),
                removes,
                snapshot=file.snapshot,
                links=links,
            )
    finally:
        staging.remove()


class _Staging:
    """A hidden session for a long log: it is written in pieces, and linked to in one commit."""

    def __init__(self, ledger: Ledger, owner: Owner) -> None:
        self._ledger = ledger
        self._log_owner = owner
        self._owner = owner.staging
        self._session_id = new_session_id()
        self._version = 0

    def put_log(self, file: StateFile) -> Steps[dict[str, tuple[str, str]]]:
        """Write the file's log, and return the links that lead to it."""
        links: dict[str, tuple[str, str]] = {}
        # It expires by itself if the server dies before `remove`.
        record = self._ledger.new_record(self._owner, None, STAGING_SECONDS)
        for piece in _pieces(log_pieces(file.log_start, file.token_ids or (), self._log_owner)):
            if self._version:
                yield
            session = LoadedSession(self._session_id, self._version, record)
            [stale] = self._ledger.store.commit([[self._ledger.change(session, record, piece)]])
            if stale is not None:
                raise self._ledger.overtaken(self._session_id)
            self._version += 1
            links |= {name: (self._session_id, name) for name in piece}
        return links

    def remove(self) -> None:
        """Delete the hidden session."""
        # Its items stay with the sessions that link to them.
        if self._version:
            self._ledger.store.delete(self._session_id)


def _pieces(items: Iterator[tuple[str, bytes]]) -> Iterator[dict[str, bytes]]:
    piece: dict[str, bytes] = {}
    nbytes = 0
    for name, data in items:
        if piece and nbytes + len(data) > PIECE_BYTES:
            yield piece
            piece, nbytes = {}, 0
        piece[name] = data
        nbytes += len(data)
    if piece:
        yield piece


def _standing_at(record: SessionRecord, file: StateFile, turn: int) -> SessionRecord:
    return replace(
        record,
        turn=turn,
        num_tokens=file.num_tokens,
        pending_ids=tuple(file.pending_ids),
        log_start=file.log_start,
        # A state before any token was computed by no build.
        build=file.build if file.num_tokens else record.build,
        build_changed=file.build_changed and file.num_tokens > 0,
        tools=file.tools,
        # Older states belong to what the import replaces.
        kept_turns=(turn,),
    )


def _items(session_id: str, record: SessionRecord, file: StateFile) -> Mapping[str, bytes]:
    state = SavedState(
        record.turn, record.num_tokens, record.pending_ids, record.build, record.build_changed, file.snapshot
    )
    name = state_name(record.turn)
    return {name: state.encode(place_of(session_id, name))} if record.turn else {}
