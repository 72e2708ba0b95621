from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.commands.cli import COMMANDS, build_app
from pararnn_server.commands.options import PANELS, read_settings
from pararnn_server.settings.server_settings import Settings
from typer.testing import CliRunner

ANOTHER_VALUE = {
    "store": "memory",
    "max_num_batched_tokens": "100",
    "data_dir": "/data",
    "checkpoint_dir": "elsewhere",
    "model_dir": "models",
    "served_model_name": "one,other",
    "device": "cpu",
    "dtype": "bfloat16",
    "threads": "3",
    "host": "127.0.0.2",
    "log_level": "debug",
    "tool_format": "hermes",
    "keys_file": "keys.txt",
    "seal_secret_file": "seal.txt",
    "api_keys": "me:0123456789abcdef",
    "admin_key": "0123456789abcdef",
    "allow_anonymous": "true",
    "page": "false",
    "cors_origin": "http://one.example,http://two.example",
}


def _another_value(name: str) -> str:
    """Text that every field accepts and that is not its default; numbers take the default plus one."""
    if name in ANOTHER_VALUE:
        return ANOTHER_VALUE[name]
    default = Settings.model_fields[name].default
    return str(type(default)(default + 1))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` would have run with."""
    seen: list[Settings] = []
    monkeypatch.setattr("pararnn_server.app.process.run", lambda settings, *_: seen.append(settings))
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PARARNN_{name.upper()}", raising=False)
    return seen


def _serve(*arguments: str, **environment: str) -> None:
    result = CliRunner().invoke(build_app(), ["serve", *arguments], env=environment)
    assert result.exit_code == 0, result.output


def _expected(name: str, checkpoint: Path) -> Any:
    values = {"checkpoint": str(checkpoint), name: _another_value(name)}
    return getattr(Settings.model_validate(values), name)


FIELDS = [name for name in Settings.model_fields if name != "checkpoint"]


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_an_option(name: str, checkpoint: Path, served: list[Settings]) -> None:
    flag = f"--{'no-' if Settings.model_fields[name].default is True else ''}{name.replace('_', '-')}"
    value = [] if Settings.model_fields[name].annotation is bool else [_another_value(name)]
    _serve("--checkpoint", str(checkpoint), flag, *value)
    assert getattr(served[0], name) == _expected(name, checkpoint)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_an_environment_variable(
    name: str, checkpoint: Path, served: list[Settings]
) -> None:
    _serve(PARARNN_CHECKPOINT=str(checkpoint), **{f"PARARNN_{name.upper()}": _another_value(name)})
    assert getattr(served[0], name) == _expected(name, checkpoint)


def test_without_options_serve_takes_the_defaults_of_settings(
    checkpoint: Path, served: list[Settings]
) -> None:
    _serve("--checkpoint", str(checkpoint))
    assert served == [Settings(checkpoint=str(checkpoint))]


def test_an_option_wins_over_its_environment_variable(checkpoint: Path, served: list[Settings]) -> None:
    _serve("--checkpoint", str(checkpoint), "--port", "1", PARARNN_PORT="2")
    assert served[0].port == 1


def test_an_empty_environment_variable_is_the_default(checkpoint: Path, served: list[Settings]) -> None:
    _serve("--checkpoint", str(checkpoint), PARARNN_PORT="", PARARNN_ALLOW_ANONYMOUS="")
    assert served[0] == Settings(checkpoint=str(checkpoint))


def _command(name: str) -> Any:
    """Return typer's click command. Its types are those of the click in use."""
    return typer.main.get_command(build_app()).commands[name]  # type: ignore[attr-defined]  # it is a group


def _options(name: str) -> list[Any]:
    return [each for each in _command(name).params if each.param_type_name == "option"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_an_environment_variable_of_its_name(name: str) -> None:
    prefix = _command(name).context_settings["auto_envvar_prefix"]
    for each in _options(name):
        spelled = f"PARARNN_{each.opts[0].removeprefix('--').replace('-', '_').upper()}"
        assert (each.envvar or f"{prefix}_{each.name.upper()}") == spelled


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_command_is_explained(name: str) -> None:
    assert _command(name).help
    assert [each.name for each in _options(name) if not each.help] == []


def test_every_group_of_the_help_starts_at_a_setting() -> None:
    assert list(PANELS) == [name for name in Settings.model_fields if name in PANELS]
    assert next(iter(PANELS)) == next(iter(Settings.model_fields))


def test_what_settings_refuse_is_one_complaint_that_names_option_and_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"--max-queue \(PARARNN_MAX_QUEUE\): .*integer"):
        read_settings({"max_queue": "many"})


PATHS = {
    "fetch-model": ("--model-dir=~/a",),
    "convert": ("~/a", "~/b", "--key-map=~/c", "--tokenizer=~/d", "--chat-template=~/e"),
    "quantize": ("a", "~/b", "--calibrate=~/c", "--evaluate=~/d"),
    "bench": ("--json=~/a",),
    "sessions export": ("id", "~/a"),
    "sessions import": ("~/a",),
}


@pytest.mark.parametrize("command", PATHS)
def test_a_leading_tilde_of_every_path_is_expanded(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves the one in --tokenizer=~/d as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found: Any = typer.main.get_command(build_app())
    for word in command.split():
        found = found.commands[word]
    values = found.make_context("x", list(PATHS[command])).params.values()
    paths = {str(value) for value in values if isinstance(value, Path)}
    assert paths == {str(tmp_path / each.rpartition("~/")[2]) for each in PATHS[command] if "~" in each}


@pytest.mark.parametrize("command", COMMANDS)
def test_paragraphs_of_the_help_have_no_line_ends_of_their_own(command: str) -> None:
    """The source's lines are longer than a terminal: kept, they would end every second line early."""
    found: Any = typer.main.get_command(build_app([command]))
    text = str(found.commands[command].help)
    assert text
    assert "\n" not in text.replace("\n\n", "")
