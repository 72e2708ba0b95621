"""`pararnn tune` from chats to a session file that a server takes, and what it says about bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.commands.cli import build_app
from pararnn_server.models.loading import Loaded
from typer.testing import CliRunner, Result

from tests.fixtures import tiny_checkpoint
from tests.server.http.routes.test_session_state import upload
from tests.server.http_server import HttpServer

SAID = [{"role": "user", "content": "in"}, {"role": "assistant", "content": "the thin tin"}]
FAST = ("--epochs", "2", "--batch", "2", "--rate", "0.05")


def chat_line(*messages: dict[str, Any]) -> str:
    return json.dumps({"messages": list(messages or SAID)}) + "\n"


def run(checkpoint: Path, data: Path, *options: str) -> Result:
    out = data.with_name("state")
    arguments = [str(checkpoint), "--data", str(data), "--out", str(out), *FAST, *options]
    return CliRunner().invoke(build_app(["tune"]), ["tune", *arguments])


def complaint(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("pararnn: ")]
    return line


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text(chat_line() * 5)
    return path


def test_the_file_starts_chats_of_a_server_with_other_replies(
    checkpoint: Path, loaded: Loaded, server: HttpServer, data: Path
) -> None:
    result = run(checkpoint, data, "--system", "be", "--json", str(data.with_name("figures")))
    assert result.exit_code == 0, result.output
    assert "without" in result.stdout
    assert not data.with_name("state.progress").exists()
    first = json.loads(data.with_name("figures").read_text())["spans"][0]
    assert first["tuned"] < first["without"]
    imported = upload(server, data.with_name("state").read_bytes())
    assert imported.status_code == 201, imported.text
    assert (imported.json()["turn"], imported.json()["num_tokens"]) == (1, 0)
    fork = server.answer(f"/v1/sessions/{imported.json()['id']}/fork", {})["id"]
    body = {"messages": SAID[:1], "max_tokens": 3, "temperature": 0, "logprobs": True}
    tuned, plain = (
        server.answer("/v1/chat/completions", body | {"session_id": session_id})
        for session_id in (fork, server.create_session())
    )
    assert tuned["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert tuned["choices"][0]["logprobs"] != plain["choices"][0]["logprobs"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "it is not JSON"),
        ('{"prompt": "x"}', "it must be an object such as"),
        (chat_line({"role": "tool", "content": "x"}), "messages[0]: role must be one of"),
        (chat_line({"role": "user", "content": 5}), "messages[0].content: must be text"),
        (chat_line(SAID[0]), "no message of the assistant"),
        (chat_line(SAID[1]), "must follow one of the user"),
        (chat_line(SAID[0], SAID[1] | {"weight": 2}), "messages[1].weight: must be 0 or 1"),
        (chat_line(SAID[0], SAID[1] | {"tool_calls": [{}]}), "messages[1].tool_calls: a state is not tuned"),
    ],
)
def test_a_wrong_line_is_named(checkpoint: Path, data: Path, line: str, words: str) -> None:
    data.write_text(chat_line() + "\n" + line.rstrip() + "\n" + chat_line())
    said = complaint(run(checkpoint, data))
    assert "line 3: " in said
    assert words in said


def test_too_few_chats_and_a_missing_template_are_one_line(checkpoint: Path, data: Path) -> None:
    data.write_text(chat_line())
    assert "at least 2 chats" in complaint(run(checkpoint, data))
    bare = tiny_checkpoint(data.with_name("bare"))
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((bare / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    assert "has no chat template" in complaint(run(bare, data))


def test_resume_without_progress_says_so(checkpoint: Path, data: Path) -> None:
    assert "leave --resume out" in complaint(run(checkpoint, data, "--resume"))


def test_a_training_that_is_interrupted_is_continued(
    checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(checkpoint, data).exit_code == 0
    whole = data.with_name("state").read_bytes()
    data.with_name("state").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("pararnn_server.commands.tune._tell", interrupt)
        stopped = run(checkpoint, data)
    assert stopped.exit_code == 130
    assert "--resume continues here" in stopped.stderr
    assert run(checkpoint, data, "--resume").exit_code == 0
    assert data.with_name("state").read_bytes() == whole


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
