"""Every example of /openapi.json works, and it says which paths need a key."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pararnn_server.app.app import create_app
from pararnn_server.app.middleware import PUBLIC_PATHS
from pararnn_server.http.schemas.sessions import SnapshotCreate
from pararnn_server.models.loading import Loaded
from pararnn_server.settings.server_settings import Settings

from tests.server.http_server import HttpServer, serving

DOCUMENT = create_app(Settings()).openapi()
KEY = "0123456789abcdef"


class Example(NamedTuple):
    method: str
    path: str
    body: dict[str, Any]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def examples() -> Iterator[Any]:
    for method, path, operation in operations():
        body = operation.get("requestBody", {"content": {}})["content"].get("application/json")
        for name, example in body["examples"].items() if body else ():
            yield pytest.param(Example(method, path, example["value"]), id=f"{method} {path}: {name}")


def session_of_two_turns(server: HttpServer) -> str:
    """A session with all that an example may refer to."""
    session = server.create_session(text="the")
    server.answer(f"/v1/sessions/{session}/append", {"text": "in"})
    for body in SnapshotCreate.EXAMPLES.values():
        assert server.post(f"/v1/sessions/{session}/snapshots", body).status_code == 200
    return session


@pytest.mark.parametrize("example", list(examples()))
def test_every_example_works(server: HttpServer, example: Example) -> None:
    path = example.path
    if "{session_id}" in path:
        path = path.replace("{session_id}", session_of_two_turns(server))
    response = server.http.request(example.method, path, json=example.body)
    assert response.is_success, response.text
    assert 'data: {"error"' not in response.text


def test_every_operation_with_a_json_body_has_an_example() -> None:
    bodies = [
        (method, path, operation["requestBody"]["content"]["application/json"])
        for method, path, operation in operations()
        if "application/json" in operation.get("requestBody", {"content": {}})["content"]
    ]
    assert bodies
    assert [(method, path) for method, path, body in bodies if not body["examples"]] == []


def test_all_but_the_public_paths_take_a_bearer_key(loaded: Loaded) -> None:
    (name,) = DOCUMENT["components"]["securitySchemes"]
    assert DOCUMENT["components"]["securitySchemes"][name]["scheme"] == "bearer"
    assert DOCUMENT["security"] == [{name: []}]
    public = {path for _, path, operation in operations() if operation.get("security") == []}
    assert public == PUBLIC_PATHS - {"/openapi.json"}
    with serving(loaded, api_keys=f"ada:{KEY}", admin_key=KEY[::-1]) as server:
        for method, path, _ in operations():
            status = server.http.request(method, path).status_code
            assert (status == 401) == (path not in public), path
