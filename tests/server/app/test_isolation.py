"""No route shows one key what is another's: every route there is, called with the other's ids."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

TABLE = (Path(__file__).resolve().parents[3] / "docs" / "security.md").read_text()
NAMES = ("ada", "bob", "admin")
SECRETS = {name: f"{name}-secret-0123456789" for name in NAMES}
PROMPT = "the inner thing " * 12
SHORT: dict[str, Any] = {"max_tokens": 2, "seed": 1}
MESSAGES = [{"role": "user", "content": "the"}]

# What a call needs to be well formed, by the end of its path.
BODIES: dict[str, Any] = {
    "append": {"text": "the"},
    "cancel": None,
    "fork": {},
    "rollback": {"turns": 1},
    "snapshots": {"name": "other"},
    "{session_id}": {"metadata": {"k": "v"}},
}
IN_BODY: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "the", **SHORT},
    "/v1/chat/completions": {"messages": MESSAGES, **SHORT},
    "/v1/messages": {"messages": MESSAGES, **SHORT},
    "/v1/responses": {"input": "the", **SHORT},
    "/v1/responses/input_tokens": {"input": "the"},
    "/v1/responses/compact": {"input": "the"},
}


def rows() -> dict[str, tuple[str, str]]:
    """Route -> which key it needs, which ids it takes."""
    found = re.findall(r"^\| `(\w+ /[^`]*)` \| (\w+) \| (\S+) \|", TABLE, re.M)
    return {route: (key, ids.strip("`")) for route, key, ids in found}


class World:
    """A server on which ada has a session, a snapshot, a response and stored states, and bob has nothing."""

    def __init__(self, server: HttpServer) -> None:
        self.clients = {
            name: httpx.Client(
                base_url=server.url, headers={"authorization": f"Bearer {secret}"}, timeout=30.0
            )
            for name, secret in SECRETS.items()
        }
        ada = self.clients["ada"]
        self.session = ada.post("/v1/sessions", json={"text": PROMPT}).json()["id"]
        path = f"/v1/sessions/{self.session}"
        assert ada.post(f"{path}/append", json={"text": "the"}).status_code == 200
        assert ada.post(f"{path}/snapshots", json={"name": "named"}).status_code == 200
        self.file = ada.get(f"{path}/state").content
        self.response = ada.post("/v1/responses", json={"input": PROMPT, **SHORT}).json()["id"]

    def path(self, template: str) -> str:
        ids = {"session_id": self.session, "response_id": self.response, "name": "named"}
        return template.format(**ids)

    def seen_by_ada(self) -> list[Any]:
        """All that a call of another could have changed."""
        ada = self.clients["ada"]
        paths = ("/v1/sessions", f"/v1/sessions/{self.session}", f"/v1/responses/{self.response}")
        state = ada.get(f"/v1/sessions/{self.session}/state").content
        return [*(ada.get(path).json() for path in paths), state]

    def call(self, name: str, method: str, path: str, body: Any) -> httpx.Response:
        if isinstance(body, bytes):
            headers = {"content-type": "application/octet-stream"}
            return self.clients[name].request(method, path, content=body, headers=headers)
        return self.clients[name].request(method, path, json=body)


@pytest.fixture(scope="module")
def world(loaded: Loaded) -> Iterator[World]:
    keys = ",".join(f"{name}:{SECRETS[name]}" for name in ("ada", "bob"))
    with serving(loaded, api_keys=keys, admin_key=SECRETS["admin"]) as server:
        made = World(server)
        yield made
        for client in made.clients.values():
            client.close()


def routes(world: World) -> list[tuple[str, str]]:
    paths = world.clients["ada"].get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_the_audit_lists_every_route(world: World) -> None:
    named = {f"{method} {re.sub(r'{[^}]+}', '{id}', path)}" for method, path in routes(world)}
    assert named == set(rows())


def without_ids(text: str) -> str:
    return re.sub(r"(sess|resp|req)_[0-9a-f]+", r"\1_ID", text)


def test_no_route_takes_an_id_of_another_key(world: World) -> None:
    before, walked = world.seen_by_ada(), 0
    for method, template in routes(world):
        _, ids = rows()[f"{method} {re.sub(r'{[^}]+}', '{id}', template)}"]
        if ids in ("none", "after"):
            continue
        body: Any = None
        if ids != "path":
            foreign = world.session if ids == "session_id" else world.response
            body = {**IN_BODY[template], ids: foreign}
        elif method == "PUT":
            body = world.file
        elif method in ("POST", "PATCH"):
            body = BODIES[template.rpartition("/")[2]]
        answer = world.call("bob", method, world.path(template), body)
        assert answer.status_code == 404, (method, template, answer.text)
        # The same words that an id gets that never was, about the id that was sent.
        never = {"session_id": "sess_0", "response_id": "resp_0", "name": "named"}
        if ids != "path":
            body = {**IN_BODY[template], ids: "sess_0"}
        unknown = world.call("bob", method, template.format(**never), body)
        assert without_ids(unknown.text) == without_ids(answer.text)
        walked += 1
    assert walked == 20
    assert world.seen_by_ada() == before


def test_the_same_calls_work_for_the_owner(world: World) -> None:
    """Else the walk above would prove nothing. What destroys comes last."""
    ada = world.clients["ada"]
    calls = [(method, path) for method, path in routes(world) if "{session_id}" in path]
    calls.sort(key=lambda call: (call[0] == "DELETE", "snapshots" not in call[1], call[0] != "PUT"))
    session = ada.post(f"/v1/sessions/{world.session}/fork", json={}).json()["id"]
    ada.post(f"/v1/sessions/{session}/append", json={"text": "the"})
    ada.post(f"/v1/sessions/{session}/snapshots", json={"name": "named"})
    for method, template in calls:
        tail = template.rpartition("/")[2]
        body = world.file if method == "PUT" else BODIES.get(tail) if method in ("POST", "PATCH") else None
        if tail == "rollback":
            ada.post(f"/v1/sessions/{session}/append", json={"text": "the"})
        path = template.format(session_id=session, name="named")
        answer = world.call("ada", method, path, body)
        assert answer.status_code in (200, 201), (method, path, answer.text)


def test_lists_and_totals_are_those_of_the_caller(world: World) -> None:
    page = world.clients["bob"].get("/v1/sessions", params={"after": "sess_"}).json()
    assert page["data"] == []
    assert all(number == 0 for total in page["totals"].values() for number in total.values())


def test_metrics_are_for_the_admin_alone(world: World) -> None:
    assert [world.clients[name].get("/metrics").status_code for name in NAMES] == [401, 401, 200]
    assert world.clients["admin"].get("/v1/sessions").status_code == 401


@pytest.mark.parametrize("path", [path for path in IN_BODY if not path.endswith("input_tokens")])
def test_usage_tells_nothing_of_what_another_key_has_asked(world: World, path: str) -> None:
    """Two keys send the same requests alternately, many times."""

    def cached(name: str) -> int:
        body = {**IN_BODY[path], "store": False} if path.endswith("responses") else dict(IN_BODY[path])
        body |= {"prompt": PROMPT} if "prompt" in body else {}
        body |= {"messages": [{"role": "user", "content": PROMPT}]} if "messages" in body else {}
        body |= {"input": PROMPT + "x"} if "input" in body else {}
        usage = world.clients[name].post(path, json={**body, "cache_salt": path}).json()["usage"]
        if "cache_read_input_tokens" in usage:
            return int(usage["cache_read_input_tokens"])
        details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
        return int(details["cached_tokens"])

    assert [cached("ada"), cached("ada") > 0] == [0, True]
    assert cached("bob") == 0


def test_two_keys_may_use_one_idempotency_key(world: World) -> None:
    headers = {"idempotency-key": "the-same"}
    answers = [
        world.clients[name].post("/v1/responses", json={"input": f"of {name}", **SHORT}, headers=headers)
        for name in ("ada", "bob")
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] != answers[1].json()["id"]
