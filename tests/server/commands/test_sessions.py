"""`pararnn sessions` against a running server."""

from __future__ import annotations

from pathlib import Path

from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner, Result

from tests.server.http_server import HttpServer


def run(server: HttpServer, *arguments: str) -> Result:
    return CliRunner().invoke(build_app(["sessions"]), ["sessions", *arguments, "--url", server.url])


def said(server: HttpServer, *arguments: str) -> str:
    result = run(server, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_session_is_listed_shown_forked_exported_imported_and_removed(
    server: HttpServer, tmp_path: Path
) -> None:
    session_id = server.create_session(text="the thin")
    server.answer(f"/v1/sessions/{session_id}/snapshots", {"name": "start"})
    child = said(server, "fork", session_id).strip()
    lines = {line.split()[0]: line for line in said(server, "list").splitlines()[1:]}
    assert lines[child].endswith(session_id)
    shown = said(server, "show", session_id)
    assert "snapshot  start: turn 1" in shown
    assert "turn 1" in shown
    file = tmp_path / "state.safetensors"
    said(server, "export", session_id, str(file), "--tokens")
    imported = said(server, "import", str(file)).strip()
    assert server.get(f"/v1/sessions/{imported}").json()["turn"] == 1
    said(server, "rm", session_id, child, imported)
    for gone in (session_id, child, imported):
        assert server.get(f"/v1/sessions/{gone}").status_code == 404


def test_what_a_person_can_mend_is_one_line(server: HttpServer, tmp_path: Path) -> None:
    for arguments in (["show", "sess_unknown"], ["import", str(tmp_path / "nowhere")]):
        result = run(server, *arguments)
        assert result.exit_code == 1
        assert len(result.stderr.strip().splitlines()) == 1
