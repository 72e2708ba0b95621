"""`pararnn fetch-model`: what it says, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pararnn_server.commands import fetch_model as module
from pararnn_server.commands.cli import build_app
from pararnn_server.fetch.fetch_error import FetchError
from typer.testing import CliRunner, Result


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(
        build_app(["fetch-model", "serve"]), ["fetch-model", *arguments], env=environment
    )


def test_without_a_name_it_lists_models_sizes_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "paragru-141m-chat").mkdir()
    (tmp_path / "paragru-141m-chat" / "config.json").write_text("{}")
    listed = run("--model-dir", str(tmp_path)).stdout.splitlines()
    assert listed[0].startswith("chat: ")
    assert [line.endswith("fetched") for line in listed[1:4]] == [True, False, False]
    assert all(" MB  " in line for line in listed[1:4])


@pytest.mark.parametrize(
    ("arguments", "weight_type"), [((), "int4"), (("--bits", "8"), "int8"), (("--float",), "bfloat16")]
)
def test_the_directory_goes_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], weight_type: str
) -> None:
    monkeypatch.setattr(
        module, "fetch", lambda model, weights, folder, *_: folder / f"{model.name}-{weights}"
    )
    result = run("chat", *arguments, PARARNN_MODEL_DIR=str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / f"chat-{weight_type}")


def test_a_failure_is_one_line_that_says_what_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FetchError("there is no network")

    monkeypatch.setattr(module, "fetch", fail)
    result = run("chat", "--model-dir", str(tmp_path))
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("pararnn: there is no network. ")
    assert line.endswith("`pararnn serve` takes the small model that ships")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [(("nonsense",), "no model is called 'nonsense'; there are: chat"), (("chat", "--bits", "5"), "--bits")],
)
def test_a_wrong_argument_is_one_line(tmp_path: Path, arguments: tuple[str, ...], wanted: str) -> None:
    result = run(*arguments, "--model-dir", str(tmp_path))
    assert result.exit_code == 1
    assert wanted in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_interrupt_is_one_line_and_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fetch", interrupted)
    result = run("chat", "--model-dir", str(tmp_path))
    assert result.exit_code == 130
    assert result.stderr == "pararnn: stopped; the next call continues\n"


def test_it_starts_without_torch() -> None:
    code = "import sys; from pararnn_server.commands.cli import build_app; build_app(['fetch-model']);"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
