"""Turns: begun with the right to write, then committed wholly or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pararnn_server.access.owner import Owner
from pararnn_server.errors import NotFound, ServerError, StoreFailed
from pararnn_server.sessions.checksum import add_checksum, verify_checksum
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger, LoadedSession
from pararnn_server.sessions.names import REPLY, place_of, state_name, turn_name
from pararnn_server.sessions.quota import BESIDE_STATES
from pararnn_server.sessions.record import HISTORY_TURNS, SessionRecord, encode_turn
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.session import SessionInfo, TurnInfo
from pararnn_server.sessions.stores.store import Change, put_bytes
from pararnn_server.sessions.token_log import log_pieces
from pararnn_server.sessions.turn import Repeated, Turn, TurnResult

logger = logging.getLogger(__name__)

# Of one commit, beyond its first turn: what waits behind it waits for so many bytes to reach the disk.
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class EndingTurn:
    """A turn on its way into the store. ledger: of its model.

    done: called on the store's thread with the session as it was committed, or with the error.
    """

    ledger: Ledger
    turn: Turn
    result: TurnResult
    submitted_at: float
    done: Callable[[SessionInfo | ServerError], None]


def begin_turn(
    ledger: Ledger,
    session_id: str,
    owner: Owner,
    request_id: str,
    expected_turn: int | None = None,
    idempotency_key: IdempotencyKey | None = None,
    tools: str = "",
) -> Turn | Repeated:
    """Begin a turn, unless this very write has happened. Raises the errors of Ledger.claim.

    tools: digest of those that its prompt shows; kept only where the session is empty.
    """
    repeated = find_repeated(ledger, ledger.find(session_id, owner), idempotency_key)
    if repeated is not None:
        return repeated
    growth = ledger.kind.state_bytes + BESIDE_STATES
    # So that a reply that was let in is not refused at its end.
    with ledger.quota.reserving(session_id, owner, growth) as reserved:
        session = ledger.claim(session_id, owner, expected_turn)
        try:
            snapshot = ledger.snapshot(session)
        except BaseException:
            ledger.release(session_id, session.fence)
            raise
    turn = Turn(
        session_id=session_id,
        request_id=request_id,
        # Tools of before were read by a turn that was undone.
        record=session.record if session.record.num_tokens else replace(session.record, tools=tools),
        version=session.version,
        fence=session.fence,
        snapshot=snapshot,
        started_at=ledger.clock(),
        idempotency_key=idempotency_key,
        reserved=reserved,
    )
    ledger.turns[session_id] = turn
    ledger.changes.note(session_id)
    return turn


def find_repeated(
    ledger: Ledger, session: LoadedSession, idempotency_key: IdempotencyKey | None
) -> Repeated | None:
    """Return the outcome of the last write if it was this one. BadRequest for another with its key."""
    if idempotency_key is None or not idempotency_key.repeats(session.record.idempotency_key):
        return None
    reply = ledger.store.read(session.session_id, REPLY)
    return Repeated(
        ledger.info(session),
        None
        if reply is None
        else bytes(verify_checksum(reply, "a kept reply", place_of(session.session_id, REPLY))),
    )


def abandon_turn(ledger: Ledger, turn: Turn) -> None:
    """End the turn without a change to its session."""
    # The session may have been deleted meanwhile, which ended the turn.
    if ledger.turns.get(turn.session_id) is turn:
        _end(ledger, turn)


def running_request(ledger: Ledger, session_id: str, owner: Owner) -> str | None:
    """Return the request whose turn is in progress on this server."""
    ledger.find(session_id, owner)
    turn = ledger.turns.get(session_id)
    return None if turn is None else turn.request_id


def ask_elsewhere(ledger: Ledger, session_id: str, owner: Owner) -> bool:
    """Ask the other server that writes to the session to end its reply. Return False if none does."""
    ledger.find(session_id, owner)
    return session_id not in ledger.claims and ledger.store.ask_to_end(session_id)


def commit_turns(ledger: Ledger, endings: Sequence[EndingTurn]) -> None:
    """Commit turns, with one wait for all. `done` of each is called with its outcome, whatever happens."""
    running = [ending for ending in endings if ledger.turns.get(ending.turn.session_id) is ending.turn]
    for ending in endings:
        if ending not in running:
            ending.done(NotFound("the session was deleted while its reply ran", param="session_id"))
    drafts = [(ending, draft) for ending in running if (draft := _drafted(ending)) is not None]
    changes = [change for _, (_, change) in drafts]
    refusals = [ledger.quota.refusal(change) for change in changes]
    admitted = [change for change, refusal in zip(changes, refusals, strict=True) if refusal is None]
    done = iter(_commit(ledger, admitted))
    outcomes = [next(done) if refusal is None else refusal for refusal in refusals]
    for (ending, (record, _)), failure in zip(drafts, outcomes, strict=True):
        ending.done(_conclude(ending, record, failure))


def _drafted(ending: EndingTurn) -> tuple[SessionRecord, Change] | None:
    """Return the turn's change; None if it cannot be made, which ends this turn and no other."""
    try:
        return _draft(ending.ledger, ending.turn, ending.result)
    except Exception:
        logger.exception("a turn cannot be kept")
        _end(ending.ledger, ending.turn)
        ending.done(StoreFailed("the turn cannot be kept; it is undone"))
        return None


def _commit(ledger: Ledger, changes: Sequence[Change]) -> list[ServerError | None]:
    """Commit in batches of bounded bytes."""
    # So a commit does not take longer the more turns end at once.
    outcomes: list[ServerError | None] = []
    batch: list[Change] = []
    nbytes = 0
    for change in changes:
        if batch and nbytes + put_bytes(change) > BATCH_BYTES:
            outcomes += _commit_batch(ledger, batch)
            batch, nbytes = [], 0
        batch.append(change)
        nbytes += put_bytes(change)
    return outcomes + (_commit_batch(ledger, batch) if batch else [])


def _commit_batch(ledger: Ledger, changes: Sequence[Change]) -> list[ServerError | None]:
    """Commit a batch, and if it fails each change by itself."""
    # The cause may be one of them.
    try:
        stale = ledger.store.commit([[change] for change in changes])
    except StoreFailed as error:
        if len(changes) == 1:
            return [error]
        return [failure for change in changes for failure in _commit_batch(ledger, [change])]
    except Exception:
        logger.exception("the session store failed in a commit")
        return [StoreFailed("the session store failed; its turn is undone") for _ in changes]
    return [None if entry is None else ledger.overtaken(entry.session_id) for entry in stale]


def _conclude(
    ending: EndingTurn, record: SessionRecord, failure: ServerError | None
) -> SessionInfo | ServerError:
    ledger, turn = ending.ledger, ending.turn
    _end(ledger, turn)
    if failure is not None:
        # What the store holds is not certain after a failure: the next turn reads it again.
        ledger.host.drop(turn.session_id)
        return failure
    written = LoadedSession(turn.session_id, turn.version + 1, record)
    ledger.keep(written, ending.result.snapshot)
    ledger.metrics.store_commit.observe(time.perf_counter() - ending.submitted_at)
    return ledger.info(written)


def _draft(ledger: Ledger, turn: Turn, result: TurnResult) -> tuple[SessionRecord, Change]:
    record = _after(ledger, turn, result)
    return record, _change(ledger, turn, result, record)


def _end(ledger: Ledger, turn: Turn) -> None:
    del ledger.turns[turn.session_id]
    ledger.changes.note(turn.session_id)
    ledger.release(turn.session_id, turn.fence)
    if turn.reserved:
        ledger.quota.release(turn.session_id)


def _after(ledger: Ledger, turn: Turn, result: TurnResult) -> SessionRecord:
    record, number = turn.record, turn.record.turn + 1
    return replace(
        ledger.used(record),
        build=ledger.kind.build,
        build_changed=record.build_changed or (record.build != ledger.kind.build and record.num_tokens > 0),
        turn=number,
        num_tokens=record.num_tokens + len(result.token_ids),
        pending_ids=result.pending_ids,
        # One more than can be undone: the present turn has a state too.
        kept_turns=(*record.kept_turns, number)[-1 - ledger.policy.rollback_turns :],
        idempotency_key=turn.idempotency_key,
    )


def _change(ledger: Ledger, turn: Turn, result: TurnResult, record: SessionRecord) -> Change:
    state = SavedState(
        record.turn,
        record.num_tokens,
        record.pending_ids,
        record.build,
        record.build_changed,
        result.snapshot,
    )
    numbers = TurnInfo(
        turn=record.turn,
        created_at=int(record.last_used_at),
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        num_tokens=record.num_tokens,
        duration_seconds=record.last_used_at - turn.started_at,
    )
    name = state_name(record.turn)
    puts = {name: state.encode(place_of(turn.session_id, name)), turn_name(record.turn): encode_turn(numbers)}
    puts |= dict(log_pieces(turn.num_tokens, result.token_ids, record.owner))
    removes = [state_name(kept) for kept in turn.record.kept_turns if kept not in record.kept_turns]
    # One goes for each that comes, so that the history has a bound.
    if record.turn > HISTORY_TURNS:
        removes.append(turn_name(record.turn - HISTORY_TURNS))
    if result.reply is not None:
        puts[REPLY] = add_checksum(result.reply, place=place_of(turn.session_id, REPLY))
    # Without its key nobody can ask for the older reply any more.
    elif turn.record.idempotency_key is not None:
        removes.append(REPLY)
    session = LoadedSession(turn.session_id, turn.version, turn.record, turn.fence)
    return ledger.change(session, record, puts, removes)
