"""Variables PARARNN_<NAME> as other programs write them: Kubernetes, env files, typing errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.commands.cli import build_app
from pararnn_server.commands.variables import VARIABLES
from pararnn_server.settings.environment import tidy, usable_value
from pararnn_server.settings.server_settings import Settings
from typer.testing import CliRunner

# What Kubernetes gives every container beside a Service called pararnn, and one called pararnn-store.
KUBERNETES = {
    "PARARNN_PORT": "tcp://10.43.1.39:8000",
    "PARARNN_PORT_8000_TCP": "tcp://10.43.1.39:8000",
    "PARARNN_PORT_8000_TCP_ADDR": "10.43.1.39",
    "PARARNN_PORT_8000_TCP_PORT": "8000",
    "PARARNN_PORT_8000_TCP_PROTO": "tcp",
    "PARARNN_SERVICE_HOST": "10.43.1.39",
    "PARARNN_SERVICE_PORT": "8000",
    "PARARNN_SERVICE_PORT_HTTP": "8000",
    "PARARNN_STORE_PORT": "tcp://[fd00::1]:6379",
    "PARARNN_STORE_PORT_6379_TCP": "tcp://[fd00::1]:6379",
    "PARARNN_STORE_SERVICE_HOST": "fd00::1",
}


def _inspect(checkpoint: Path, **environment: str) -> tuple[dict[str, Any], list[str]]:
    """The facts, and the lines on standard error."""
    arguments = ["inspect", str(checkpoint), "--no-measure", "--json"]
    result = CliRunner().invoke(build_app(["inspect"]), arguments, env=environment)
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts, result.stderr.splitlines()


def test_addresses_of_kubernetes_services_are_no_settings(checkpoint: Path) -> None:
    _, warnings = _inspect(checkpoint, **KUBERNETES)
    [warning] = warnings
    assert "PARARNN_PORT=tcp://10.43.1.39:8000 is ignored" in warning


def test_settings_made_in_a_program_ignore_addresses_of_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert Settings().port == 8000
    monkeypatch.setenv("PARARNN_PORT", "'9000'")
    assert Settings().port == 9000


def test_a_port_given_as_an_address_is_refused_as_an_option(checkpoint: Path) -> None:
    arguments = ["serve", "--checkpoint", str(checkpoint), "--port", "tcp://10.43.1.39:8000"]
    assert CliRunner().invoke(build_app(["serve"]), arguments).exit_code == 1


def test_a_misspelt_variable_is_named_with_the_closest_setting(checkpoint: Path) -> None:
    _, warnings = _inspect(checkpoint, PARARNN_MAX_QUEU="8")
    assert warnings == ["pararnn: warning: PARARNN_MAX_QUEU is ignored: did you mean PARARNN_MAX_QUEUE?"]


def test_a_variable_like_no_setting_is_named(checkpoint: Path) -> None:
    _, warnings = _inspect(checkpoint, PARARNN_ZZZZ="1")
    assert warnings == ["pararnn: warning: PARARNN_ZZZZ is ignored: no command reads it"]


def test_known_variables_are_those_of_all_commands_and_of_the_native_library() -> None:
    read = set(_variables(typer.main.get_command(build_app())))
    assert read | {"PARARNN_ISA", "PARARNN_LIBRARY"} == VARIABLES


def _variables(command: Any) -> Iterator[str]:
    prefix = command.context_settings["auto_envvar_prefix"]
    for each in command.params:
        if each.param_type_name == "option" and each.name != "help" and each.allow_from_autoenv:
            yield each.envvar or f"{prefix}_{each.name.upper()}"
    for further in getattr(command, "commands", {}).values():
        yield from _variables(further)


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_home_directory_and_quotes_of_an_env_file_are_understood(
    quote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DATA_DIR", "CHECKPOINT_DIR", "MODEL_DIR", "KEYS_FILE", "CHECKPOINT"):
        monkeypatch.setenv(f"PARARNN_{name}", f"{quote}~/x{quote}")
    settings = Settings()
    assert settings.data_dir == settings.checkpoint_dir == settings.keys_file == tmp_path / "x"
    assert settings.model_dir == tmp_path / "x"
    assert settings.checkpoint == str(tmp_path / "x")


@given(st.text(max_size=20))
def test_only_quotes_and_service_addresses_change_a_value(value: str) -> None:
    usable = usable_value(value)
    assert usable is None or usable == value or f"{value[0]}{usable}{value[0]}" == value


@given(st.dictionaries(st.text("PARARNN_QUEMX/:tcp'", max_size=16), st.text(max_size=8), max_size=8))
def test_no_environment_stops_a_command_before_it_starts(environment: dict[str, str]) -> None:
    foreign = {name: value for name, value in environment.items() if name not in VARIABLES}
    tidy(environment, VARIABLES)
    assert environment.items() >= foreign.items()


def test_the_version_is_shown_and_no_variable_asks_for_it() -> None:
    shown = CliRunner().invoke(build_app([]), ["--version"])
    assert (shown.exit_code, shown.stdout.split()[0]) == (0, "pararnn-server")
    helped = CliRunner().invoke(build_app(["serve"]), ["serve", "--help"], env={"PARARNN_VERSION": "1"})
    assert "--max-queue" in helped.stdout
