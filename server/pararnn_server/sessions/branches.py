"""Branches of a session: forks, named snapshots and rollbacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from pararnn_server.access.owner import Owner
from pararnn_server.errors import BadRequest, Expired, NotFound, TooManyRequests
from pararnn_server.sessions.checksum import add_checksum, verify_checksum
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger, LoadedSession, new_session_id
from pararnn_server.sessions.names import (
    LOG,
    REPLY,
    TURNS,
    log_name,
    number_in,
    place_of,
    snapshot_prefix,
    state_name,
    turn_name,
)
from pararnn_server.sessions.record import SessionRecord, decode_turn, split_turns
from pararnn_server.sessions.saved_state import SavedState, decode_saved_state
from pararnn_server.sessions.session import SessionInfo, SnapshotInfo
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.token_log import cut_log
from pararnn_server.sessions.turns import find_repeated


def fork(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: IdempotencyKey | None = None,
    expected_turn: int | None = None,
) -> Steps[SessionInfo]:
    """Create a session at the last commit of this one, without its snapshots.

    metadata: None takes the parent's. A repeated request gets the child that the first one made.
    """
    # The log is linked to, not copied.
    yield from ledger.prepare_links(session_id, owner)
    parent = ledger.find(session_id, owner)
    child = None if idempotency_key is None else _find_child(ledger, session_id, owner, idempotency_key)
    if child is not None:
        return child
    ledger.check_turn(parent, expected_turn)
    record = replace(
        ledger.used(parent.record),
        created_at=ledger.clock(),
        metadata=parent.record.metadata if metadata is None else dict(metadata),
        pinned=False,
        parent_id=session_id,
        # The child has only this state, so no older turn can be undone.
        kept_turns=(parent.record.turn,),
        snapshots={},
        idempotency_key=None,
        made_by=idempotency_key,
    )
    child_id = new_session_id()
    puts = ledger.state_for(parent, child_id) | ledger.store.scan(session_id, TURNS)
    links = {name: (session_id, name) for name in ledger.log_sizes(parent)}
    alias = None if idempotency_key is None else f"fork {_child_digest(session_id, idempotency_key)}"
    snapshot = ledger.host.get(session_id, parent.version)
    info = ledger.add(child_id, record, puts, snapshot, links=links, alias=alias)
    if info is None and idempotency_key is not None:
        # Another server was faster with the same request.
        info = _find_child(ledger, session_id, owner, idempotency_key)
    if info is None:
        raise ledger.overtaken(session_id)
    return info


def save_snapshot(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    name: str,
    idempotency_key: IdempotencyKey | None = None,
    expected_turn: int | None = None,
) -> Steps[SessionInfo]:
    """Name the present state of a session, in place of an older snapshot of that name.

    Raises TooManyRequests for too many names.
    """
    # A snapshot holds links to the log and the turns too, so that no rollback or later turn touches it.
    yield from ledger.prepare_links(session_id, owner)
    found = ledger.find(session_id, owner)
    if find_repeated(ledger, found, idempotency_key) is not None:
        return ledger.info(found)
    with ledger.writing(session_id, owner, expected_turn) as session:
        record, prefix = session.record, snapshot_prefix(name)
        if name not in record.snapshots and len(record.snapshots) >= ledger.policy.max_snapshots:
            limit = ledger.policy.max_snapshots
            raise TooManyRequests(f"a session keeps at most {limit} snapshots; delete some", code="quota")
        links = {prefix + piece: (session_id, piece) for piece in ledger.log_sizes(session)}
        puts = {prefix + TURNS: add_checksum(*ledger.store.scan(session_id, TURNS).values())}
        if record.turn:
            puts[prefix + state_name(record.turn)] = ledger.item(session, state_name(record.turn))
        numbers = SnapshotInfo(
            turn=record.turn,
            num_tokens=record.num_tokens,
            log_start=record.log_start,
            created_at=int(ledger.clock()),
            nbytes=record.state_bytes + record.history_bytes,
        )
        # An older snapshot of the name may have had more pieces.
        removes = [old for old in ledger.store.names(session_id, prefix) if old not in puts]
        after = replace(
            ledger.used(record),
            snapshots={**record.snapshots, name: numbers},
            idempotency_key=idempotency_key,
        )
        return ledger.write(session, after, puts, [*removes, REPLY], links=links)


def delete_snapshot(ledger: Ledger, session_id: str, owner: Owner, name: str) -> SessionInfo:
    """Delete a named snapshot. Raises NotFound for an unknown name."""
    with ledger.writing(session_id, owner) as session:
        _named(session, name)
        left = {other: info for other, info in session.record.snapshots.items() if other != name}
        removes = list(ledger.store.names(session_id, snapshot_prefix(name)))
        return ledger.write(session, replace(ledger.used(session.record), snapshots=left), removes=removes)


def rollback(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    target: int | str,
    idempotency_key: IdempotencyKey | None = None,
    expected_turn: int | None = None,
) -> SessionInfo:
    """Undo turns, or return to a named snapshot.

    target: number of turns, or name of the snapshot. Turns can be undone as far back as their states are
    kept. Raises BadRequest beyond that, and NotFound for an unknown name.
    """
    found = ledger.find(session_id, owner)
    if find_repeated(ledger, found, idempotency_key) is not None:
        return ledger.info(found)
    with ledger.writing(session_id, owner, expected_turn) as session:
        ledger.check_model(session.record)
        if isinstance(target, str):
            step = _to_snapshot(ledger, session, target)
        else:
            step = _turns_back(ledger, session, target)
        return ledger.write(
            session,
            replace(step.record, idempotency_key=idempotency_key),
            step.puts,
            [*step.removes, REPLY],
            snapshot=step.state.snapshot,
            links=step.links,
        )


class _Step(NamedTuple):
    record: SessionRecord
    state: SavedState
    puts: dict[str, bytes]
    removes: list[str]
    links: dict[str, tuple[str, str]]


def _turns_back(ledger: Ledger, session: LoadedSession, turns: int) -> _Step:
    record, target = session.record, session.record.turn - turns
    if target not in record.kept_turns:
        most = record.turn - record.kept_turns[0]
        raise BadRequest(f"turns: {most} can be undone here, not {turns}.", param="turns")
    state = ledger.saved_state(session, target)
    sizes = ledger.store.names(session.session_id, LOG)
    puts, removes = cut_log(sizes, partial(ledger.item, session), state.num_tokens, record.owner)
    removes += [state_name(turn) for turn in record.kept_turns if turn > target]
    removes += [name for name in ledger.store.names(session.session_id, TURNS) if number_in(name) > target]
    kept = tuple(turn for turn in record.kept_turns if turn <= target)
    return _Step(replace(_at(ledger, record, state), kept_turns=kept), state, puts, removes, {})


def _to_snapshot(ledger: Ledger, session: LoadedSession, name: str) -> _Step:
    record, prefix, named = session.record, snapshot_prefix(name), _named(session, name)
    state = ledger.saved_state(session, 0)
    puts: dict[str, bytes] = {}
    if named.turn:
        data = puts[state_name(named.turn)] = ledger.item(session, prefix + state_name(named.turn))
        state = decode_saved_state(
            data, ledger.kind.parts, place_of(session.session_id, state_name(named.turn))
        )
    links = {
        name.removeprefix(prefix): (session.session_id, name)
        for name in ledger.store.names(session.session_id, prefix + LOG)
    }
    if links.pop(LOG, None) is not None and named.num_tokens > named.log_start:
        # The first version kept the log of a snapshot as one item of this name.
        puts[log_name(named.log_start)] = ledger.item(session, prefix + LOG)
    lines = bytes(verify_checksum(ledger.item(session, prefix + TURNS), "the turns of a snapshot"))
    puts |= {turn_name(decode_turn(line).turn): line for line in split_turns(lines)}
    gone = [*ledger.store.names(session.session_id, LOG), *ledger.store.names(session.session_id, TURNS)]
    gone += [state_name(turn) for turn in record.kept_turns]
    after = replace(_at(ledger, record, state), log_start=named.log_start, kept_turns=(named.turn,))
    return _Step(after, state, puts, gone, links)


def _at(ledger: Ledger, record: SessionRecord, state: SavedState) -> SessionRecord:
    return replace(
        ledger.used(record),
        turn=state.turn,
        num_tokens=state.num_tokens,
        pending_ids=state.pending_ids,
        build=state.build,
        build_changed=state.build_changed,
    )


def _named(session: LoadedSession, name: str) -> SnapshotInfo:
    if name not in session.record.snapshots:
        raise NotFound("the session has no snapshot of this name", param="snapshot")
    return session.record.snapshots[name]


def _find_child(
    ledger: Ledger, session_id: str, owner: Owner, idempotency_key: IdempotencyKey
) -> SessionInfo | None:
    """Return the fork that an earlier request with this key made, if it still exists."""
    # The first version of this program made the child's id from the key.
    digest = _child_digest(session_id, idempotency_key)
    for child_id in (ledger.store.find_alias(f"fork {digest}"), f"sess_{digest}"):
        if child_id is not None and ledger.store.load(child_id) is not None:
            # An expired child counts as gone, so the request makes a new one.
            with suppress(Expired):
                child = ledger.find(child_id, owner)
                idempotency_key.repeats(child.record.made_by)
                return ledger.info(child)
    return None


def _child_digest(session_id: str, idempotency_key: IdempotencyKey) -> str:
    """Return a name of the child that only those can guess who know the parent's 128 random bits."""
    return hashlib.blake2b(
        idempotency_key.key.encode(), key=session_id.encode()[:64], digest_size=16
    ).hexdigest()
