"""The command `pararnn`.

A command is imported when it is asked for, so that none waits for the libraries of the others.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from pararnn_server.commands.early_signals import raise_on_interrupt
from pararnn_server.commands.one_line_group import OneLineGroup
from pararnn_server.commands.options import CONTEXT, EPILOG
from pararnn_server.commands.standard_streams import open_standard_streams
from pararnn_server.commands.variables import VARIABLES
from pararnn_server.settings.environment import tidy
from pararnn_server.settings.version import PACKAGE, package_version

COMMANDS = {
    "serve": "serve:serve",
    "chat": "chat:chat",
    "fetch-model": "fetch_model:fetch_model",
    "inspect": "inspect_checkpoint:inspect_checkpoint",
    "convert": "convert:convert",
    "quantize": "quantize:quantize",
    "train": "train:train",
    "evaluate": "evaluate:evaluate",
    "tune": "tune:tune",
    "bench": "bench:bench",
    "sessions": "sessions:sessions",
    "top": "top:top",
}
"""Name -> module below `commands` and function, or a group of functions."""


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The commands of these names. Each option of each is also the environment variable PARARNN_<OPTION>."""
    app = typer.Typer(
        cls=OneLineGroup,
        help="Serve, talk to and look into recurrent language models whose memory does not grow.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )
    app.callback()(_any_command)
    for name in names:
        module, function = COMMANDS[name].split(":")
        command = getattr(import_module(f"pararnn_server.commands.{module}"), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, context_settings=CONTEXT, epilog=EPILOG, help=_flowing(command.__doc__))(
                command
            )
    return app


def _flowing(text: str | None) -> str:
    """Join the lines of each paragraph: a terminal has a width of its own."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> None:
    """Run what the arguments of this process ask for."""
    open_standard_streams()
    # Read when torch is imported: its threads sleep between operations. On a busy machine, threads that spin
    # keep cores from the threads that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    asked = [name for name in sys.argv[1:2] if name in COMMANDS]
    # What is imported stays: looking for garbage in it, again and again, takes a tenth of the time to start.
    gc.disable()
    app = build_app([] if sys.argv[1:2] == ["--version"] else asked or COMMANDS)
    gc.freeze()
    gc.enable()
    raise_on_interrupt()
    app()


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PACKAGE} {package_version()}")
        raise typer.Exit


# A variable PARARNN_VERSION, as images have, must not turn every command into this one.
_VERSION_OPTION = typer.Option(
    "--version",
    help="Show the version and exit.",
    callback=_show_version,
    is_eager=True,
    allow_from_autoenv=False,
)


def _any_command(version: Annotated[bool, _VERSION_OPTION] = False) -> None:
    """Run before every command, also one that was imported alone."""
    # Typer reads the variables after this callback, so it sees only usable values.
    for warning in tidy(os.environ, VARIABLES):
        typer.echo(f"pararnn: warning: {warning}", err=True)
