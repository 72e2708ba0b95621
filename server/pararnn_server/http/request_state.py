"""The state of one request, which connection, middleware, routes and answers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from pararnn_server.access.body_budget import BodyLease
from pararnn_server.access.limits import TokenAccount
from pararnn_server.access.owner import Owner

# Beside scope["state"], not in it: what is there belongs to the application's lifespan, and servers copy it.
_KEY = "pararnn.request"


@dataclass(slots=True)
class RequestState:
    """Notes of one request, from its head to its log line.

    request_id: as in the header of the answer; "" before the application runs.
    key: name of the API key, "" before the access check and without keys.
    is_admin: it was sent with the admin key, or there are no keys; only on paths that every key may read.
    is_head: the answer's body is left out.
    tokens: the account that the key's tokens a minute are taken from. body: the bytes that the request holds.
        Both are None on paths that count against no limit.
    outcome: status for the log line, if it is not the one that was sent.
    recorded: fields of the body that only the log line shows.
    is_half_closed: the client has shut its writing side or left; only writing to it tells which.
    """

    request_id: str = ""
    key: str = ""
    is_admin: bool = False
    is_head: bool = False
    tokens: TokenAccount | None = None
    body: BodyLease | None = None
    outcome: int | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)
    is_half_closed: bool = False

    def token_account(self) -> TokenAccount:
        """Return the account of a request that counts."""
        assert self.tokens is not None, "the access check admits a request before its route runs"
        return self.tokens

    def body_lease(self) -> BodyLease:
        """Return the lease of a request that counts."""
        assert self.body is not None, "the access check admits a request before its route runs"
        return self.body


def begin_request_state(scope: Scope) -> RequestState:
    """Return the state, made here if there is none: the connection makes it, and servers of others do not."""
    if _KEY not in scope:
        scope[_KEY] = RequestState()
    return request_state(scope)


def request_state(scope: Scope) -> RequestState:
    """Return the state of a request that has begun. Copies of the scope share it."""
    state = scope[_KEY]
    assert isinstance(state, RequestState)
    return state


def owner_of(request: Request) -> Owner:
    """Return the owner of the sessions of the key that sent the request."""
    return Owner(request_state(request.scope).key)
