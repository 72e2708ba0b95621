"""The state of a request: one object that all of it shares, and no other request."""

import asyncio
from typing import Any

import pytest
from pararnn_server.app.middleware import Envelope
from pararnn_server.http.request_state import RequestState, begin_request_state, request_state
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.server.http_server import HttpServer
from tests.server.raw_socket import head, open_socket, read_answer


def http_scope() -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "headers": [],
        "state": {"of": "app"},
    }


def test_copies_of_a_scope_share_the_state() -> None:
    scope = http_scope()
    state = begin_request_state(scope)
    request_state({**scope, "method": "HEAD"}).outcome = 499
    assert state.outcome == 499
    assert begin_request_state(scope) is state


def test_two_requests_share_nothing() -> None:
    first, second = begin_request_state(http_scope()), begin_request_state(http_scope())
    first.key, first.is_half_closed = "ada", True
    assert second == RequestState()


def test_a_server_without_our_connection_gets_the_state_from_the_envelope() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        request_state(scope).recorded = {"user": "u"}
        await Response("fine")(scope, receive, send)

    async def send(_: Any) -> None:
        pass

    scope = http_scope()
    asyncio.run(Envelope(app)(scope, send, send))
    assert request_state(scopes[0]).recorded == {"user": "u"}
    assert scope["state"] == {"of": "app"}


def test_requests_of_one_connection_have_a_state_each(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[RequestState] = []

    def begin(scope: Scope) -> RequestState:
        begun.append(begin_request_state(scope))
        return begun[-1]

    monkeypatch.setattr("pararnn_server.http.connections.connection.begin_request_state", begin)
    with open_socket(server) as client:
        for _ in range(3):
            client.sendall(head("GET /health HTTP/1.1"))
            assert read_answer(client).status == 200
    assert len({id(state) for state in begun}) == 3
