"""Responses in the session store: each is a session of its own, at the end of its reply.

It belongs to `Owner.responses`, so that no route of the sessions sees it. Beside the state lies a document:
the response as it was given, and the items of its own input. Every function takes the ledger first and runs
on the store's thread.

A session without a document belongs to a response that is being made, or that a server left when it died.
The server that makes it holds a claim. The Idempotency-Key of a request is the alias of its response, and
ends with it; no id is given twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pararnn_server.access.owner import Owner
from pararnn_server.errors import BadRequest, Conflict, Expired, NotFound, TooLarge
from pararnn_server.http.schemas.response_items import AnyItem, stored_item
from pararnn_server.sessions import catalogue
from pararnn_server.sessions.checksum import add_checksum, corrupt, verify_checksum
from pararnn_server.sessions.idempotency_key import IdempotencyKey
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.names import place_of, state_name
from pararnn_server.sessions.quota import BESIDE_STATES
from pararnn_server.sessions.saved_state import SavedState
from pararnn_server.sessions.start_state import record_from, state_item
from pararnn_server.sessions.steps import Steps
from pararnn_server.sessions.stores.store import PIECE_BYTES

DOCUMENT = "response"
# Responses that are followed back at most, and those that are read in one piece.
MAX_CHAIN = 10_000
PIECE_RESPONSES = 16


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """body: as it was given. input: its own, oldest first. digest: of the request, if it may come again.

    num_tokens: ids of the conversation. num_pending: how many of them the state does not cover.
    can_resume: True if the served model can resume from the state. nbytes: of the document.
    is_compacted: its input followed a compaction, so that the items before are not stored.
    """

    body: Mapping[str, Any]
    input: tuple[AnyItem, ...]
    digest: str | None
    num_tokens: int
    num_pending: int
    can_resume: bool
    nbytes: int
    is_compacted: bool = False

    @property
    def output(self) -> tuple[AnyItem, ...]:
        """The replies."""
        # A compaction is the state of the items, and none of them.
        items = (item for item in self.body["output"] if item.get("type") != "compaction")
        return tuple(stored_item(item) for item in items)


def load(ledger: Ledger, response_id: str, owner: Owner) -> StoredResponse:
    """Return a stored response. Raises NotFound or Expired."""
    with _speaking_of_responses():
        held = ledger.find(response_id, owner)
    data = ledger.store.read(response_id, DOCUMENT)
    # A session without a document is a response still being made.
    if data is None:
        raise NotFound("no such response", param="response_id")
    fields = _decode(data, response_id)
    return StoredResponse(
        body=fields["body"],
        input=tuple(stored_item(item) for item in fields["input"]),
        digest=fields["digest"],
        num_tokens=held.record.num_tokens,
        num_pending=len(held.record.pending_ids),
        can_resume=(held.record.fingerprint, held.record.state_bytes)
        == (ledger.kind.fingerprint, ledger.kind.state_bytes),
        nbytes=len(data),
        is_compacted=fields.get("compacted", False),
    )


def conversation(ledger: Ledger, response_id: str, owner: Owner, max_bytes: int) -> Steps[list[AnyItem]]:
    """Return all items up to the end of a response, oldest first.

    BadRequest if a part of it is gone, TooLarge if its documents have more than `max_bytes`.
    """
    parts = yield from _chain(ledger, response_id, owner, max_bytes)
    if parts[-1].is_compacted:
        message = (
            "previous_response_id: the conversation began with a compaction, whose items are not stored;"
            " send the same instructions and tools as before, or the whole conversation as input."
        )
        raise BadRequest(message, param="previous_response_id", code="history_gone")
    if parts[-1].body["previous_response_id"] is not None:
        message = (
            "previous_response_id: an earlier response of the conversation was deleted or has expired;"
            " send the same instructions as before, or the whole conversation as input."
        )
        raise BadRequest(message, param="previous_response_id", code="history_gone")
    return [item for part in reversed(parts) for item in (*part.input, *part.output)]


def saved_state(ledger: Ledger, response_id: str, owner: Owner) -> SavedState:
    """Return the state at the end of a response. Raises NotFound, Expired, or Conflict for another model."""
    with _speaking_of_responses():
        held = ledger.find(response_id, owner)
    record = held.record
    return SavedState(
        record.turn,
        record.num_tokens,
        record.pending_ids,
        record.build,
        record.build_changed,
        ledger.snapshot(held),
    )


def inputs(ledger: Ledger, response_id: str, owner: Owner, max_bytes: int) -> Steps[list[AnyItem]]:
    """Return the items that a response was given, oldest first, as far as they are stored. TooLarge."""
    latest, *earlier = yield from _chain(ledger, response_id, owner, max_bytes)
    items = [item for part in reversed(earlier) for item in (*part.input, *part.output)]
    return [*items, *latest.input]


def _chain(ledger: Ledger, response_id: str, owner: Owner, max_bytes: int) -> Steps[list[StoredResponse]]:
    """The response and those before it, latest first, as far as they are there; NotFound without the first.

    A file of the first version may hold a circle: there the id of a deleted response was given again.
    """
    parts, seen, nbytes = [load(ledger, response_id, owner)], {response_id}, 0
    while (previous := parts[-1].body["previous_response_id"]) is not None and previous not in seen:
        seen.add(previous)
        nbytes += parts[-1].nbytes
        if nbytes > max_bytes or len(parts) > MAX_CHAIN:
            message = f"The conversation has more than {max_bytes} bytes or {MAX_CHAIN} responses."
            raise TooLarge(message, param="previous_response_id")
        # Between two pieces the store's thread keeps turns of others.
        if len(parts) % PIECE_RESPONSES == 0 or parts[-1].nbytes > PIECE_BYTES:
            yield
        try:
            parts.append(load(ledger, previous, owner))
        except (NotFound, Expired):
            break
    return parts


def find_repeated(ledger: Ledger, idempotency_key: IdempotencyKey, owner: Owner) -> StoredResponse | None:
    """The response that a request with this Idempotency-Key has got before; None if there is none any more.

    BadRequest if that was another request, Conflict if the response is still being made.
    """
    for response_id in (
        ledger.store.find_alias(alias_of(idempotency_key, owner)),
        _first_version_id(idempotency_key, owner),
    ):
        if response_id is None or ledger.store.load(response_id) is None:
            continue
        try:
            response = load(ledger, response_id, owner)
        except Expired:
            continue
        except NotFound:
            _drop_abandoned(ledger, response_id)
            continue
        if response.digest != idempotency_key.digest:
            raise BadRequest(
                "This Idempotency-Key was used for another request: take a new one for each.",
                param="Idempotency-Key",
                code="idempotency_key_reused",
            )
        return response
    return None


def _drop_abandoned(ledger: Ledger, response_id: str) -> None:
    """Drop a response whose server is gone. Raises Conflict if a server works on it."""
    if not ledger.begin_work(_work_on(response_id)):
        raise _not_answered_yet()
    try:
        ledger.store.delete(response_id)
    finally:
        ledger.end_work(_work_on(response_id))


def begin(
    ledger: Ledger,
    response_id: str,
    owner: Owner,
    ttl_seconds: float,
    previous_id: str | None,
    idempotency_key: IdempotencyKey | None = None,
    start: SavedState | None = None,
) -> None:
    """Makes the session of a response to come, until `keep` or `drop`.

    start: a state that the request brought. previous_id: the response whose state it resumes. Its ids are
    not copied: the time for that grows with the conversation. ttl_seconds: as long as it may take to make
    it; then it is gone if its server has died. Conflict if another request with its Idempotency-Key was
    faster.
    """
    ledger.begin_work(_work_on(response_id))
    # One state to start from and one to end with.
    growth = 2 * ledger.kind.state_bytes + BESIDE_STATES
    try:
        with ledger.quota.reserving(response_id, owner, growth):
            _add(ledger, response_id, owner, ttl_seconds, previous_id, idempotency_key, start)
    except BaseException:
        ledger.end_work(_work_on(response_id))
        raise


def _add(
    ledger: Ledger,
    response_id: str,
    owner: Owner,
    ttl_seconds: float,
    previous_id: str | None,
    idempotency_key: IdempotencyKey | None,
    start: SavedState | None,
) -> None:
    # The alias makes one of two equal requests lose, whichever server they reach.
    alias = None if idempotency_key is None else alias_of(idempotency_key, owner)
    record = ledger.new_record(owner, None, ttl_seconds)
    if previous_id is None:
        puts: dict[str, bytes] = {}
        if start is not None:
            record, puts = record_from(record, start), state_item(response_id, start)
        snapshot = None if start is None else start.snapshot
        if not ledger.add(response_id, record, puts, snapshot, alias=alias):
            raise _not_answered_yet()
        return
    with _speaking_of_responses():
        parent = ledger.find(previous_id, owner)
    was = parent.record
    record = replace(
        record,
        build=was.build,
        build_changed=was.build_changed,
        parent_id=previous_id,
        turn=was.turn,
        num_tokens=was.num_tokens,
        pending_ids=was.pending_ids,
        # The ids before are not copied: that would take longer with every turn.
        log_start=was.num_tokens,
        # Only the parent's last state is copied, so no other turn is kept here.
        kept_turns=(was.turn,),
    )
    puts, snapshot = ledger.state_for(parent, response_id), ledger.host.get(previous_id, parent.version)
    if not ledger.add(response_id, record, puts, snapshot, alias=alias):
        raise _not_answered_yet()


def keep(
    ledger: Ledger,
    response_id: str,
    owner: Owner,
    body: Mapping[str, Any],
    given: tuple[AnyItem, ...],
    digest: str | None,
    ttl_seconds: float,
    is_compacted: bool = False,
) -> None:
    """Keep the response, once its turn is committed. Only its last state is kept."""
    fields: dict[str, Any] = {"body": body, "input": [item.body() for item in given], "digest": digest}
    if is_compacted:
        fields["compacted"] = True
    text = json.dumps(fields, separators=(",", ":")).encode()
    # The place is in the checksum, so a row moved to another response is an error.
    document = add_checksum(text, place=place_of(response_id, DOCUMENT))
    # What was reserved covers this: a reply that was let in is not refused at its end.
    with ledger.quota.ending(response_id), ledger.writing(response_id, owner) as held:
        *earlier, last = held.record.kept_turns
        record = replace(ledger.used(held.record), ttl_seconds=ttl_seconds, kept_turns=(last,))
        ledger.write(held, record, {DOCUMENT: document}, [state_name(turn) for turn in earlier])
    ledger.end_work(_work_on(response_id))


def drop(ledger: Ledger, response_id: str, owner: Owner) -> None:
    """Drop the response, instead of `keep`: nothing of it stays."""
    ledger.end_work(_work_on(response_id))
    catalogue.delete(ledger, response_id, owner)


def delete(ledger: Ledger, response_id: str, owner: Owner) -> None:
    """Responses that went on from it stay; so it goes even if it is damaged. NotFound or Expired."""
    with _speaking_of_responses():
        ledger.stored(response_id, owner)
    # By name only: a damaged document must not keep a response from being deleted.
    if not ledger.store.names(response_id, DOCUMENT):
        raise NotFound("no such response", param="response_id")
    catalogue.delete(ledger, response_id, owner)


def alias_of(idempotency_key: IdempotencyKey, owner: Owner) -> str:
    """The second name of the response to a request with this Idempotency-Key."""
    return f"response {_digest(idempotency_key, owner)}"


def _first_version_id(idempotency_key: IdempotencyKey, owner: Owner) -> str:
    """The id that the first version gave such a response."""
    return f"resp_{_digest(idempotency_key, owner)}"


def _digest(idempotency_key: IdempotencyKey, owner: Owner) -> str:
    return hashlib.blake2b(f"{owner.encode()}\n{idempotency_key.key}".encode(), digest_size=16).hexdigest()


def _work_on(response_id: str) -> str:
    return f"{response_id}/answer"


def _not_answered_yet() -> Conflict:
    return Conflict("the request with this Idempotency-Key is not answered yet", param="Idempotency-Key")


@contextmanager
def _speaking_of_responses() -> Iterator[None]:
    try:
        yield
    except Expired:
        message = "the response has expired"
        raise Expired(message, param="response_id", code="response_expired") from None
    except NotFound:
        raise NotFound("no such response", param="response_id") from None


def _decode(data: bytes, response_id: str) -> dict[str, Any]:
    try:
        fields = json.loads(bytes(verify_checksum(data, "a response", place_of(response_id, DOCUMENT))))
    except ValueError as error:
        raise corrupt(f"a response cannot be read ({error})") from error
    assert isinstance(fields, dict)
    return fields
