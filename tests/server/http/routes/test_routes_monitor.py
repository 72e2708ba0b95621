"""/v1/monitor and /v1/admin/sessions, over a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from pararnn_server.access.owner import Owner
from pararnn_server.http.schemas.monitor import AdminSessionList, MonitorChange, MonitorSnapshot
from pararnn_server.models.loading import Loaded
from pararnn_server.monitor.session_table import CHANGES_AT_ONCE
from pararnn_server.sessions import catalogue

from tests.server.http_server import ENDLESS, HttpServer, serving

SECRETS = {name: f"{name}-secret-0123456789" for name in ("ada", "bob", "admin")}


def auth(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


class Events:
    """The events of a stream, one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        """Return id and data of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                data = json.loads(fields["data"])
                assert data["type"] == fields["event"]
                return fields["id"], data
            name, _, value = line.partition(": ")
            fields[name] = value
        raise AssertionError("the stream has ended")

    def until(self, wanted: Any) -> dict[str, Any]:
        for _ in range(200):
            data = self.next()[1]
            if wanted(data):
                return data
        raise AssertionError("no such event came")


@contextmanager
def watch(server: HttpServer, name: str = "", event_id: str = "") -> Iterator[Events]:
    headers = (auth(name) if name else {}) | ({"last-event-id": event_id} if event_id else {})
    with ExitStack() as stream:
        deadline = time.monotonic() + 30
        response = stream.enter_context(server.http.stream("GET", "/v1/monitor", headers=headers))
        # The server may not have noticed yet that the streams of the test before have ended.
        while response.status_code == 429 and time.monotonic() < deadline:
            stream.close()
            time.sleep(0.05)
            response = stream.enter_context(server.http.stream("GET", "/v1/monitor", headers=headers))
        assert response.status_code == 200, response.read()
        yield Events(response)


@pytest.fixture(scope="module")
def keyed(loaded: Loaded) -> Iterator[HttpServer]:
    keys = ",".join(f"{name}:{SECRETS[name]}" for name in ("ada", "bob"))
    with serving(
        loaded, api_keys=keys, admin_key=SECRETS["admin"], monitor_interval_seconds=0.05, max_monitors=2
    ) as server:
        for name in ("ada", "bob"):
            body = {"text": f"the text of {name}", "metadata": {"name": name}}
            assert server.post("/v1/sessions", body, headers=auth(name)).status_code == 201
        yield server


def test_a_stream_is_a_snapshot_and_then_changes(server: HttpServer) -> None:
    with watch(server) as events:
        _, snapshot = events.next()
        MonitorSnapshot.model_validate(snapshot)
        session = server.create_session(text="the inner thing", metadata={"k": "v"})
        change = events.until(lambda data: any(row["id"] == session for row in data["sessions"]))
        MonitorChange.model_validate(change)
        server.http.delete(f"/v1/sessions/{session}")
        events.until(lambda data: session in data["removed"])


def test_a_change_has_the_form_that_the_session_has(server: HttpServer) -> None:
    session = server.create_session(text="the inner thing")
    with watch(server) as events:
        rows = {row["id"]: row for row in events.next()[1]["sessions"]}
    assert rows[session].pop("owner") == ""
    told = server.get(f"/v1/sessions/{session}").json()
    assert rows[session] == {name: told[name] for name in rows[session]}
    server.http.delete(f"/v1/sessions/{session}")


def test_a_running_reply_is_shown_with_its_rate(server: HttpServer) -> None:
    session = server.create_session()
    with (
        watch(server) as events,
        server.http.stream(
            "POST", "/v1/completions", json={**ENDLESS, "session_id": session, "stream": True}
        ) as reply,
    ):
        # Kept: a generator that is dropped closes the connection, which ends the reply.
        lines = reply.iter_lines()
        next(lines)
        change = events.until(
            lambda data: any(one["completion_tokens"] > 3 for one in data.get("running", ()))
        )
        running = next(one for one in change["running"] if one["session_id"] == session)
        assert running["phase"] == "decode"
        assert running["tokens_per_second"] > 0
        assert server.post(f"/v1/sessions/{session}/cancel").status_code == 200
        events.until(lambda data: data.get("running") == [])
    server.http.delete(f"/v1/sessions/{session}")


def test_a_key_sees_its_own_and_the_operator_sees_all(keyed: HttpServer) -> None:
    seen = {}
    for name in ("ada", "bob", "admin"):
        with watch(keyed, name) as events:
            seen[name] = events.next()[1]
    for name in ("ada", "bob"):
        assert {row["owner"] for row in seen[name]["sessions"]} == {name}
        assert {budget["owner"] for budget in seen[name]["budgets"]} == {name}
        assert not seen[name]["all_keys"]
        assert seen[name]["steps"] == {}
    assert {row["owner"] for row in seen["admin"]["sessions"]} == {"ada", "bob"}
    assert {budget["owner"] for budget in seen["admin"]["budgets"]} == {"ada", "bob", None}
    assert all(steps for steps in seen["admin"]["steps"].values())


def test_a_key_gets_no_event_for_the_work_of_another(keyed: HttpServer) -> None:
    with watch(keyed, "bob") as events, watch(keyed, "admin") as everything:
        events.next(), everything.next()
        made = keyed.post("/v1/sessions", {"text": "more"}, headers=auth("ada")).json()["id"]
        everything.until(lambda data: any(row["id"] == made for row in data["sessions"]))
        own = keyed.post("/v1/sessions", {"text": "more"}, headers=auth("bob")).json()["id"]
        change = events.until(lambda data: data["sessions"])
        assert {row["id"] for row in change["sessions"]} == {own}
        keyed.http.delete(f"/v1/sessions/{made}", headers=auth("ada"))
        keyed.http.delete(f"/v1/sessions/{own}", headers=auth("bob"))
        assert events.until(lambda data: data["removed"])["removed"] == [own]


def test_a_stream_resumes_after_the_event_that_the_client_has(keyed: HttpServer) -> None:
    with watch(keyed, "ada") as events:
        event_id, _ = events.next()
    made = keyed.post("/v1/sessions", {}, headers=auth("ada")).json()["id"]
    with watch(keyed, "ada", event_id) as events:
        assert events.next()[1]["type"] == "change"
        keyed.http.delete(f"/v1/sessions/{made}", headers=auth("ada"))
        events.until(lambda data: made in data["removed"])
    for unknown in ("nonsense", f"{event_id}0", "-1", event_id.partition("-")[0]):
        with watch(keyed, "ada", unknown) as events:
            assert events.next()[1]["type"] == "snapshot"


def test_a_key_may_open_only_so_many_streams(keyed: HttpServer) -> None:
    with watch(keyed, "ada") as first, watch(keyed, "ada"):
        first.next()
        refused = keyed.get("/v1/monitor", headers=auth("ada"))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "quota"
        with watch(keyed, "bob") as other:
            other.next()
    with watch(keyed, "ada") as again:
        again.next()


def test_head_of_the_stream_ends(server: HttpServer) -> None:
    answer = server.http.head("/v1/monitor")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_slow_reader_gets_a_snapshot_in_place_of_what_it_missed(loaded: Loaded) -> None:
    with serving(loaded, monitor_interval_seconds=0.05, send_buffer=4096) as server, watch(server) as events:
        events.next()
        names = [server.create_session(metadata={"k": "x" * 512, "n": str(n)}) for n in range(1200)]
        for name in names[:100]:
            server.http.patch(f"/v1/sessions/{name}", json={"metadata": {"n": "y" * 512}})
        kinds = set()
        rows: dict[str, Any] = {}
        while len(rows) < len(names):
            data = events.next()[1]
            kinds.add(data["type"])
            rows |= {row["id"]: row for row in data["sessions"]}
        assert set(rows) == set(names)


def test_the_operators_list_sorts_filters_and_pages(keyed: HttpServer) -> None:
    def listed(**query: Any) -> dict[str, Any]:
        answer = keyed.get("/v1/admin/sessions", params=query, headers=auth("admin"))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        AdminSessionList.model_validate(body)
        return body

    everything = listed(sort="num_tokens", order="asc")
    counts = [row["num_tokens"] for row in everything["data"]]
    assert counts == sorted(counts)
    assert {row["owner"] for row in everything["data"]} == {"ada", "bob"}
    assert {row["owner"] for row in listed(owner="ada")["data"]} == {"ada"}
    assert {row["owner"] for row in listed(search="BOB")["data"]} == {"bob"}
    assert {row["owner"] for row in listed(metadata="name=ada")["data"]} == {"ada"}
    assert listed(metadata=["name=ada", "name=bob"])["num_matches"] == 0
    first = listed(limit=1, sort="owner")
    assert first["has_more"]
    assert first["num_matches"] == everything["num_matches"]
    second = listed(limit=1, sort="owner", after=first["last_id"])
    assert first["data"] != second["data"]


def test_a_wrong_query_of_the_operators_list_is_a_400(keyed: HttpServer) -> None:
    wrong = {"sort": "nonsense", "after": "sess_0", "metadata": "x", "limit": "0", "tier": "moon", "x": "y"}
    for name, value in wrong.items():
        answer = keyed.get("/v1/admin/sessions", params={name: value}, headers=auth("admin"))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), answer.text


def test_many_that_open_at_once_share_one_table(loaded: Loaded) -> None:
    with serving(loaded, monitor_interval_seconds=0.05) as server:
        session = server.create_session()
        kinds: list[str] = []

        def look() -> None:
            with watch(server) as events:
                _, data = events.next()
                kinds.append(data["type"])
                assert [row["id"] for row in data["sessions"]] == [session]

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert kinds == ["snapshot"] * 8


@pytest.mark.parametrize("num_sessions", [600, pytest.param(10_000, marks=pytest.mark.soak)])
def test_an_update_has_the_size_of_what_changed_however_many_sessions_there_are(
    loaded: Loaded, num_sessions: int
) -> None:
    with serving(loaded, monitor_interval_seconds=0.05, max_sessions=num_sessions + 1) as server:
        ask = server.service.models.get().sessions.ask
        futures = [
            ask(catalogue.create, Owner(""), {"title": f"Conversation {number}"}, None)
            for number in range(num_sessions)
        ]
        made = [future.result(60).id for future in futures]
        with watch(server) as events:
            assert {row["id"] for row in events.next()[1]["sessions"]} == set(made)
            server.http.patch(f"/v1/sessions/{made[0]}", json={"metadata": {"title": "new"}})
            change = events.until(lambda data: data["sessions"])
            assert [row["id"] for row in change["sessions"]] == made[:1]
            assert len(json.dumps(change["sessions"])) < 1024
            for session_id in made:
                ask(catalogue.update, session_id, Owner(""), metadata={"title": "changed"})
            seen: set[str] = set()
            while len(seen) < num_sessions:
                rows = events.until(lambda data: data["sessions"])["sessions"]
                # Many that change at once are sent in parts, so that no event is large.
                assert len(rows) <= CHANGES_AT_ONCE
                seen |= {row["id"] for row in rows if row["metadata"] == {"title": "changed"}}
