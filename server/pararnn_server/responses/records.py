"""Responses in the session store: each is a session of its own that stands where its reply ended.

It belongs to `responses_owner`, so that no route of the sessions sees it. Beside the state lies a document:
the response as it was given, and the items of its own input. Every function takes the ledger first and runs
on the store's thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pararnn_server.errors import BadRequest, Conflict, Expired, NotFound
from pararnn_server.responses.items import Item, stored_item
from pararnn_server.sessions import directory
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.names import state_name
from pararnn_server.sessions.sealed import corrupt, seal, unseal

DOCUMENT = "response"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """body: as it was given. input: its own, oldest first. digest: of the request, if it may come again.

    num_tokens: ids of the conversation. num_pending: how many of them the state does not cover.
    can_resume: whether the served model can go on from the state.
    """

    body: Mapping[str, Any]
    input: tuple[Item, ...]
    digest: str | None
    num_tokens: int
    num_pending: int
    can_resume: bool

    @property
    def output(self) -> tuple[Item, ...]:
        """The replies."""
        return tuple(stored_item(item) for item in self.body["output"])


def load(ledger: Ledger, response_id: str, owner: str) -> StoredResponse:
    """NotFound or Expired."""
    with _speaking_of_responses():
        held = ledger.find(response_id, owner)
    data = ledger.store.read(response_id, DOCUMENT)
    if data is None:
        raise NotFound("no such response", param="response_id")
    fields = _decode(data)
    return StoredResponse(
        body=fields["body"],
        input=tuple(stored_item(item) for item in fields["input"]),
        digest=fields["digest"],
        num_tokens=held.record.num_tokens,
        num_pending=len(held.record.pending_ids),
        can_resume=(held.record.fingerprint, held.record.state_bytes)
        == (ledger.kind.fingerprint, ledger.kind.state_bytes),
    )


def conversation(ledger: Ledger, response_id: str, owner: str) -> list[Item]:
    """All that was said up to the end of a response, oldest first. BadRequest if a part of it is gone."""
    parts: list[tuple[Item, ...]] = []
    current: str | None = response_id
    while current is not None:
        try:
            response = load(ledger, current, owner)
        except (NotFound, Expired):
            message = (
                "previous_response_id: an earlier response of the conversation was deleted or has expired;"
                " send the same instructions as before, or the whole conversation as input."
            )
            raise BadRequest(message, param="previous_response_id", code="history_gone") from None
        parts += [response.output, response.input]
        current = response.body["previous_response_id"]
    return [item for part in reversed(parts) for item in part]


def inputs(ledger: Ledger, response_id: str, owner: str) -> list[Item]:
    """What a response was given, oldest first: its conversation, as far as that is still there."""
    parts = [load(ledger, response_id, owner)]
    while (previous := parts[-1].body["previous_response_id"]) is not None:
        try:
            parts.append(load(ledger, previous, owner))
        except (NotFound, Expired):
            break
    latest, *earlier = parts
    said = [item for part in reversed(earlier) for item in (*part.input, *part.output)]
    return [*said, *latest.input]


def find_repeated(ledger: Ledger, response_id: str, owner: str, digest: str) -> StoredResponse | None:
    """The response that a request with an Idempotency-Key has got before.

    BadRequest if that was another request, Conflict if the response is still being made.
    """
    if ledger.store.load(response_id) is None:
        return None
    try:
        response = load(ledger, response_id, owner)
    except Expired:
        return None
    except NotFound:
        message = "the request with this Idempotency-Key is not answered yet"
        raise Conflict(message, param="Idempotency-Key") from None
    if response.digest != digest:
        raise BadRequest(
            "This Idempotency-Key was used for another request: take a new one for each.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return response


def begin(ledger: Ledger, response_id: str, owner: str, ttl_seconds: float, previous_id: str | None) -> None:
    """Makes the session of a response to come. previous_id: the response whose state it goes on from.

    Its ids are not copied: that would take the longer the longer the conversation is.
    ttl_seconds: as long as it may take to make it. What a server that died has left is gone after that.
    """
    record = ledger.new_record(owner, None, ttl_seconds)
    if previous_id is None:
        ledger.add(response_id, record, {}, None)
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
        log_start=was.num_tokens,
        kept_turns=(was.turn,),
    )
    name = state_name(was.turn)
    ledger.add(
        response_id, record, {name: ledger.item(parent, name)}, ledger.host.get(previous_id, parent.version)
    )


def keep(
    ledger: Ledger,
    response_id: str,
    owner: str,
    body: Mapping[str, Any],
    given: tuple[Item, ...],
    digest: str | None,
    ttl_seconds: float,
) -> None:
    """Once its turn is committed: the response is there from now on. Only its last state is kept."""
    fields = {"body": body, "input": [item.body() for item in given], "digest": digest}
    document = seal(json.dumps(fields, separators=(",", ":")).encode())
    with ledger.writing(response_id, owner) as held:
        *earlier, last = held.record.kept_turns
        record = replace(ledger.used(held.record), ttl_seconds=ttl_seconds, kept_turns=(last,))
        ledger.write(held, record, {DOCUMENT: document}, [state_name(turn) for turn in earlier])


def delete(ledger: Ledger, response_id: str, owner: str) -> None:
    """Responses that went on from it stay. NotFound or Expired."""
    load(ledger, response_id, owner)
    directory.delete(ledger, response_id, owner)


@contextmanager
def _speaking_of_responses() -> Iterator[None]:
    try:
        yield
    except Expired:
        message = "the response has expired"
        raise Expired(message, param="response_id", code="response_expired") from None
    except NotFound:
        raise NotFound("no such response", param="response_id") from None


def _decode(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(bytes(unseal(data, "a response")))
    except ValueError as error:
        raise corrupt(f"a response cannot be read ({error})") from error
    assert isinstance(fields, dict)
    return fields
