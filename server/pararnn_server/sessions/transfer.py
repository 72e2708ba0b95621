"""Sessions that leave for another server, and those that come from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pararnn_server.errors import BadRequest
from pararnn_server.sessions.ledger import Ledger, new_session_id
from pararnn_server.sessions.names import LOG, REPLY, state_name
from pararnn_server.sessions.once import Once
from pararnn_server.sessions.record import SessionRecord
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.token_log import log_piece, read_log
from pararnn_server.sessions.turns import find_repeated


def export(ledger: Ledger, session_id: str, owner: str, *, tokens: bool = False) -> StateFile:
    """The last commit. tokens: with its log; BadRequest if that is not whole."""
    held = ledger.find(session_id, owner)
    record, snapshot = held.record, ledger.snapshot(held)
    ids = None
    if tokens:
        if record.log_start:
            message = f"tokens: the first {record.log_start} ids were not in the session's import."
            raise BadRequest(message, param="tokens")
        ids = read_log(ledger.store.scan(session_id, LOG), 0, record.num_tokens)
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
    )


def import_new(ledger: Ledger, owner: str, file: StateFile, ttl_seconds: float | None) -> SessionInfo:
    """A new session that stands where the exported one did."""
    record = _standing_at(ledger.new_record(owner, file.metadata, ttl_seconds), file, file.turn)
    info = ledger.add(new_session_id(), record, _items(record, file), file.snapshot)
    assert info is not None, "a session without an alias is in nobody's way"
    return info


def import_into(
    ledger: Ledger,
    session_id: str,
    owner: str,
    file: StateFile,
    once: Once | None = None,
    expected_turn: int | None = None,
) -> SessionInfo:
    """One more turn, which puts the imported state and log in place of the session's; it cannot be undone."""
    found = ledger.find(session_id, owner)
    if find_repeated(ledger, found, once) is not None:
        return ledger.info(found)
    with ledger.writing(session_id, owner, expected_turn) as held:
        ledger.check_model(held.record)
        record = _standing_at(ledger.used(held.record), file, held.record.turn + 1)
        removes = [*ledger.store.scan(session_id, LOG), REPLY]
        removes += [state_name(turn) for turn in held.record.kept_turns]
        return ledger.write(
            held, replace(record, once=once), _items(record, file), removes, snapshot=file.snapshot
        )


def _standing_at(record: SessionRecord, file: StateFile, turn: int) -> SessionRecord:
    return replace(
        record,
        turn=turn,
        num_tokens=file.num_tokens,
        pending_ids=tuple(file.pending_ids),
        log_start=file.log_start,
        build=file.build,
        build_changed=file.build_changed,
        kept_turns=(turn,),
    )


def _items(record: SessionRecord, file: StateFile) -> Mapping[str, bytes]:
    state = SavedState(
        record.turn, record.num_tokens, record.pending_ids, record.build, record.build_changed, file.snapshot
    )
    saved = {state_name(record.turn): state.encode()} if record.turn else {}
    return saved | log_piece(record.log_start, file.token_ids or ())
