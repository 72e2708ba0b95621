"""The command `pararnn`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from pararnn_server.commands.chat import chat
from pararnn_server.commands.convert import convert
from pararnn_server.commands.inspect_checkpoint import inspect_checkpoint
from pararnn_server.commands.options import CONTEXT, EPILOG
from pararnn_server.commands.serve import serve

COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "chat": chat,
    "inspect": inspect_checkpoint,
    "convert": convert,
}


def build_app() -> typer.Typer:
    """All commands. Each option of each is also the environment variable PARARNN_<OPTION>."""
    app = typer.Typer(
        help="Serve, talk to and look into recurrent language models whose memory does not grow.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )
    for name, command in COMMANDS.items():
        app.command(name, context_settings=CONTEXT, epilog=EPILOG)(command)
    return app


def main() -> None:
    """Entry point of the `pararnn` script."""
    build_app()()
