"""`pararnn top` against a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pararnn_client import MonitorEvent, MonitorView, PararnnClient, Session
from pararnn_server.commands.cli import build_app
from pararnn_server.commands.top_screen import SortField, screen
from pararnn_server.models.loading import Loaded
from rich.console import Console
from typer.testing import CliRunner

from tests.server.http_server import HttpServer, serving


@pytest.fixture(scope="module")
def watched(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded) as server:
        yield server


def said(server: HttpServer, *arguments: str) -> str:
    result = CliRunner().invoke(build_app(["top"]), ["top", *arguments, "--url", server.url])
    assert result.exit_code == 0, result.output
    return result.stdout


def lines_of(view: MonitorView, sort: SortField, height: int | None = None) -> list[str]:
    console = Console(width=160, record=True, markup=False, file=None, quiet=False)
    with console.capture() as captured:
        console.print(screen(view, sort, height))
    return captured.get().splitlines()


def view_of(*sessions: Session, running: list[dict[str, object]] | None = None) -> MonitorView:
    view = MonitorView()
    view.apply(MonitorEvent(True, 1.0, sessions, (), {"running": running or []}))
    return view


def session(name: str, tokens: int, owner: str = "") -> Session:
    return Session(name, "tiny", 0.0, float(tokens), tokens, 1, 2048, tier="host", raw={"owner": owner})


def test_a_table_shows_every_session_and_its_memory(watched: HttpServer) -> None:
    made = watched.create_session(text="the inner thing")
    told = watched.get(f"/v1/sessions/{made}").json()
    line = next(line for line in said(watched, "--once").splitlines() if line.startswith(made))
    assert str(told["num_tokens"]) in line.split()
    assert f"{told['state_bytes'] / 1024:.1f} KiB" in line
    watched.http.delete(f"/v1/sessions/{made}")


def test_one_event_as_json_is_the_snapshot(watched: HttpServer) -> None:
    made = watched.create_session()
    snapshot = json.loads(said(watched, "--once", "--json"))
    assert snapshot["type"] == "snapshot"
    assert made in [row["id"] for row in snapshot["sessions"]]
    watched.http.delete(f"/v1/sessions/{made}")


def test_a_server_that_cannot_be_reached_is_one_line() -> None:
    result = CliRunner().invoke(build_app(["top"]), ["top", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1


def test_sessions_are_sorted_by_the_wanted_column() -> None:
    view = view_of(session("b", 5), session("a", 7), session("c", 6))
    names = {sort: [line.split()[0] for line in lines_of(view, sort)[-3:]] for sort in ("tokens", "id")}
    assert names == {"tokens": ["a", "c", "b"], "id": ["a", "b", "c"]}


def test_tokens_of_the_running_reply_count() -> None:
    reply = {"session_id": "a", "prompt_tokens_read": 10, "completion_tokens": 3, "tokens_per_second": 4.0}
    line = lines_of(view_of(session("a", 7), running=[reply]), "id")[-1]
    assert line.split()[1] == "20"
    assert "4.0" in line.split()


def test_the_screen_fits_the_terminal() -> None:
    view = view_of(*(session(f"s{number}", number) for number in range(100)))
    assert len(lines_of(view, "tokens", 20)) <= 20


def test_owners_are_shown_where_there_are_keys_and_never_as_markup() -> None:
    lines = lines_of(view_of(session("a", 1, "[red]ada[/red]")), "id")
    assert "owner" in lines[-2]
    assert "[red]ada[/red]" in lines[-1]


def test_a_view_follows_the_events(watched: HttpServer) -> None:
    with PararnnClient(watched.url) as client, client.monitor() as stream:
        view = MonitorView()
        made = ""
        for event in stream:
            view.apply(event)
            if event.is_snapshot:
                made = client.sessions.create(text="the").id
            elif made in view.sessions:
                client.sessions.delete(made)
            elif made in event.removed:
                break
        assert view.models
        assert view.budgets
