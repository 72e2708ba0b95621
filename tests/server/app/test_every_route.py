"""Rules of all routes, read off the document: what counts, what is refused, and what is looked at first."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pararnn_server.app.app import create_app
from pararnn_server.app.middleware import ADMIN_PATHS, PUBLIC_PATHS
from pararnn_server.models.loading import Loaded
from pararnn_server.settings.server_settings import Settings

from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving
from tests.server.raw_socket import ask, head, open_socket, read_answer

KEY, ADMIN = "k" * 20, "a" * 20
KEYS: dict[str, Any] = {"key": KEY, "api_keys": f"one:{KEY}", "admin_key": ADMIN}
PATHS = create_app(Settings(store="memory")).openapi()["paths"]
ROUTES = sorted((method.upper(), path) for path, methods in PATHS.items() for method in methods)
KEYED = [route for route in ROUTES if route[1] not in PUBLIC_PATHS | ADMIN_PATHS]
END_WORK = [route for route in KEYED if route[0] == "DELETE" or route[1].endswith("/cancel")]
IN_SESSION_WITH_BODY = [
    (method, path)
    for method, path in KEYED
    if path.startswith("/v1/sessions/{") and "requestBody" in PATHS[path][method.lower()]
]


def url(path: str, session_id: str = "sess_none") -> str:
    return re.sub(r"\{\w+\}", session_id, path)


def status_of(server: HttpServer, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    """Return the status. A stream without an end is left."""
    with server.http.stream(method, url(path), headers=headers) as answer:
        return answer.status_code


def test_lists_are_not_empty() -> None:
    assert {("GET", "/v1/models"), ("PUT", "/v1/sessions/{session_id}/state")} <= set(KEYED)
    assert len(IN_SESSION_WITH_BODY) == 6
    assert len(END_WORK) == 4


@pytest.fixture(scope="module")
def limited(loaded: Loaded) -> Iterator[HttpServer]:
    """Three requests a minute for a key; a key for each route."""
    keys = ",".join(f"{i}:{KEY}{i}" for i in range(len(KEYED)))
    with serving(loaded, api_keys=keys, admin_key=ADMIN, key_requests_per_minute=3) as server:
        yield server


@pytest.mark.parametrize(("method", "path"), KEYED)
def test_every_route_counts_against_the_rate_of_its_key(limited: HttpServer, method: str, path: str) -> None:
    key = {"x-api-key": f"{KEY}{KEYED.index((method, path))}"}
    statuses = [status_of(limited, method, path, key) for _ in range(5)]
    assert 429 not in statuses[:3]
    assert statuses[3:] == [429, 429]


def test_what_needs_no_key_of_a_user_never_counts(limited: HttpServer) -> None:
    for path in PUBLIC_PATHS | ADMIN_PATHS:
        for _ in range(5):
            assert limited.get(path, headers={"x-api-key": ADMIN}).status_code == 200


@pytest.fixture(scope="module")
def full(loaded: Loaded) -> Iterator[HttpServer]:
    """All requests that the key may have under way are."""
    with serving(loaded, **KEYS, key_max_requests=1) as server, connection(server, ENDLESS, key=KEY):
        eventually(lambda: server.service.models.get().engine.stats().num_requests_running)
        yield server


@pytest.mark.parametrize(("method", "path"), KEYED)
def test_only_what_ends_work_passes_where_a_key_has_all_under_way(
    full: HttpServer, method: str, path: str
) -> None:
    status = status_of(full, method, path)
    assert (status == 429) == ((method, path) not in END_WORK)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_unknown_query_parameter_is_a_400_that_names_it(server: HttpServer, method: str, path: str) -> None:
    answer = server.http.request(method, url(path), params={"limt": "2"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    details = error.get("details", error)
    assert (details["param"], details.get("error_code", error.get("code"))) == ("limt", "unknown_parameter")
    known = [
        each["name"] for each in PATHS[path][method.lower()].get("parameters", ()) if each["in"] == "query"
    ]
    assert all(name in error["message"] for name in known)


def test_document_takes_no_query_either(server: HttpServer) -> None:
    assert server.get("/openapi.json", params={"x": "1"}).status_code == 400


@pytest.mark.parametrize(("method", "path"), IN_SESSION_WITH_BODY)
def test_absent_session_is_told_before_any_of_the_body_is_read(
    server: HttpServer, method: str, path: str
) -> None:
    for size in (10, 30 << 20):
        with open_socket(server) as client:
            client.sendall(head(f"{method} {url(path)} HTTP/1.1", {"content-length": str(size)}))
            assert read_answer(client).status == 404


@pytest.mark.parametrize(("method", "path"), IN_SESSION_WITH_BODY)
def test_busy_session_is_told_before_any_of_the_body_is_read(
    server: HttpServer, method: str, path: str
) -> None:
    if path.endswith("/fork"):
        return  # of the last turn, busy or not
    session_id = server.create_session()
    with connection(server, {**ENDLESS, "session_id": session_id}), open_socket(server) as client:
        eventually(lambda: server.busy_slots() == 1)
        client.sendall(head(f"{method} {url(path, session_id)} HTTP/1.1", {"content-length": str(30 << 20)}))
        assert read_answer(client).status == 409
    eventually(lambda: server.busy_slots() == 0)


@pytest.mark.parametrize(
    ("method", "path"), [route for route in KEYED if "requestBody" in PATHS[route[1]][route[0].lower()]]
)
def test_unknown_key_is_told_before_any_of_the_body_is_read(
    limited: HttpServer, method: str, path: str
) -> None:
    with open_socket(limited) as client:
        client.sendall(head(f"{method} {url(path)} HTTP/1.1", {"content-length": str(30 << 20)}))
        assert read_answer(client).status == 401


def test_bodies_in_flight_stay_within_the_budget_of_their_key(loaded: Loaded) -> None:
    limits = {
        "max_body_bytes": 1 << 20,
        "max_inflight_body_bytes": 3 << 20,
        "key_max_inflight_body_bytes": 2 << 20,
    }
    keys = {"api_keys": f"one:{KEY},two:{'t' * 20}", "key": KEY}
    with serving(loaded, **keys, **limits) as server, ExitStack() as stack:
        fields = {"content-type": "application/json", "transfer-encoding": "chunked"}

        def begin(key: str) -> None:
            client = stack.enter_context(open_socket(server))
            top = head("POST /v1/completions HTTP/1.1", fields | {"x-api-key": key})
            client.sendall(top + b"f0000\r\n" + b" " * 0xF0000)

        bodies = server.service.bodies
        for _ in range(6):
            begin(KEY)
        eventually(lambda: bodies.held_bytes > 1 << 20)
        assert bodies.held_bytes <= 2 << 20
        begin("t" * 20)
        eventually(lambda: bodies.held_bytes > 2 << 20)
        assert bodies.held_bytes <= 3 << 20
        top = head(
            "POST /v1/completions HTTP/1.1",
            {"content-length": str(1 << 20), "x-api-key": KEY} | {"content-type": "application/json"},
        )
        refused = ask(server, top)
        assert (refused.status, refused.json()["error"]["code"]) == (429, "quota")
        stack.close()
        eventually(lambda: bodies.held_bytes == 0)
