"""A folder without permission gives one line that names it, in every command."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.commands.cli import build_app
from typer.testing import CliRunner

from tests.fixtures import tiny_checkpoint


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint in a folder that may not be entered; for root, whom nothing stops, it is pretended."""
    folder = tmp_path / "locked"
    tiny_checkpoint(folder / "model")
    if os.geteuid() == 0:
        for module, name in [(os, each) for each in ("stat", "lstat", "open", "scandir", "listdir", "mkdir")]:
            monkeypatch.setattr(module, name, _refusing(getattr(module, name), folder))
        monkeypatch.setattr(builtins, "open", _refusing(open, folder))
        monkeypatch.setattr(io, "open", _refusing(io.open, folder))
        yield folder
        return
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def _refusing(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and Path(path).is_relative_to(folder / "model"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return function(path, *arguments, **options)

    return call


COMMANDS = {
    "serve": ["serve", "--port", "0", "--checkpoint", "{model}"],
    "serve with keys": ["serve", "--port", "0", "--checkpoint", "{good}", "--keys-file", "{model}/keys"],
    "serve with sessions": ["serve", "--port", "0", "--checkpoint", "{good}", "--data-dir", "{model}/data"],
    "serve by name": ["serve", "--port", "0", "--checkpoint-dir", "{model}"],
    "chat": ["chat", "--checkpoint", "{model}"],
    "inspect": ["inspect", "{model}", "--no-measure"],
    "bench": ["bench", "{model}"],
    "quantize": ["quantize", "{model}", "{target}"],
    "quantize into": ["quantize", "{good}", "{model}/out"],
    "quantize with text": ["quantize", "{good}", "{target}", "--calibrate", "{model}/text"],
    "convert": ["convert", "{model}/model.safetensors", "{target}"],
    "convert with names": [
        "convert",
        "{good}/model.safetensors",
        "{target}",
        "--key-map",
        "{model}/names.json",
    ],
    "import": ["sessions", "import", "{model}/session"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_may_not_be_entered_is_named_in_one_line(
    name: str, locked: Path, checkpoint: Path, tmp_path: Path
) -> None:
    places = {"model": locked / "model", "good": checkpoint, "target": tmp_path / "target"}
    arguments = [word.format(**places) for word in COMMANDS[name]]
    result = CliRunner().invoke(build_app(arguments[:1]), arguments)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit), result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("pararnn: ")
    assert str(locked) in last


def test_a_neighbour_that_may_not_be_entered_hides_no_checkpoint(locked: Path) -> None:
    good = tiny_checkpoint(locked / "other")
    found = CliRunner().invoke(
        build_app(["inspect"]),
        ["inspect", "--no-measure", "--json"],
        env={"PARARNN_CHECKPOINT_DIR": str(locked)},
    )
    assert str(good) in found.stdout
