"""docs/cli.md says what the commands take; this reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pararnn_server.commands.cli import COMMANDS, build_app

TEXT = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def _rows() -> Iterator[tuple[str, str]]:
    """Each option as its row of a table must be, and the command it belongs to."""
    commands: dict[str, Any] = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]  # a group
    for name in COMMANDS:
        group = getattr(commands[name], "commands", {"": commands[name]})
        for each in {param.opts[0]: param for one in group.values() for param in one.params}.values():
            if each.param_type_name == "option" and each.name != "help":
                yield name, f"| `{each.opts[0]}` | {_default(each.default)} | {each.help} |"


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _section(command: str) -> str:
    return TEXT.split(f"\n## pararnn {command}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("command", "row"), list(_rows()))
def test_every_option_stands_in_its_commands_table_as_the_help_says(command: str, row: str) -> None:
    assert row in _section(command).splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_table_holds_an_option_that_is_not_there(command: str) -> None:
    documented = [line for line in _section(command).splitlines() if line.startswith("| `--")]
    assert set(documented) == {row for name, row in _rows() if name == command}
