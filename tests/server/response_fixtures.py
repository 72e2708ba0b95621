"""Stored responses without an engine."""

from __future__ import annotations

import secrets
from typing import Any

from pararnn_server.access.owner import Owner
from pararnn_server.http.schemas.response_items import Item
from pararnn_server.responses import records
from pararnn_server.sessions.idempotency_key import IdempotencyKey

from tests.server.session_fixtures import ADA, Sessions, result

OWNER = ADA.responses
MAX_BYTES = 1 << 20


def begin(
    manager: Sessions,
    previous: str | None = None,
    key: str | None = None,
    owner: Owner = OWNER,
    ttl_seconds: float = 60.0,
) -> str:
    """A response that is being made."""
    response_id = f"resp_{secrets.token_hex(16)}"
    manager.now(records.begin, response_id, owner, ttl_seconds, previous, idempotency_key(key))
    return response_id


def respond(
    manager: Sessions,
    previous: str | None = None,
    key: str | None = None,
    owner: Owner = OWNER,
    ttl_seconds: float = 1000.0,
) -> str:
    """A response that is kept."""
    response_id = begin(manager, previous, key, owner)
    manager.keep(manager.begin_turn(response_id, owner), result([1, 2]))
    given = (Item(f"in {response_id}", "user", "said"),)
    digest = None if key is None else digest_of(key)
    manager.now(records.keep, response_id, owner, body(response_id, previous), given, digest, ttl_seconds)
    return response_id


def body(response_id: str, previous: str | None) -> dict[str, Any]:
    reply = {
        "id": f"out {response_id}",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "answered"}],
    }
    return {
        "id": response_id,
        "previous_response_id": previous,
        "instructions": None,
        "output": [reply],
    }


def again(manager: Sessions, key: str, owner: Owner = OWNER) -> str | None:
    """The id of the response that a request sent again is answered with; None: it is answered anew."""
    made = idempotency_key(key)
    assert made is not None
    found = manager.now(records.find_repeated, made, owner)
    return None if found is None else str(found.body["id"])


def inputs(manager: Sessions, response_id: str, owner: Owner = OWNER) -> list[str]:
    return [item.id for item in manager.now(records.inputs, response_id, owner, MAX_BYTES)]


def conversation(manager: Sessions, response_id: str, owner: Owner = OWNER) -> list[str]:
    return [item.id for item in manager.now(records.conversation, response_id, owner, MAX_BYTES)]


def idempotency_key(key: str | None) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, digest_of(key))


def digest_of(key: str) -> str:
    return f"digest of {key}"
