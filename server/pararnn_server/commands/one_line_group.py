"""Wrong arguments: one line and exit code 1, like every other mistake that the person can mend."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from pararnn_server.commands.complain import complain

# Typer has its own copy of click in some versions, and exports no name of this class.
_UsageError: Any = typer.BadParameter.__base__


class OneLineGroup(TyperGroup):
    """A group of commands whose wrong arguments are one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command of the arguments, and end the process if standalone_mode is set."""
        try:
            # Not standalone: click would print its own lines and end with exit code 2.
            result = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _UsageError as error:
            if not standalone_mode:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(error.exit_code)
            complain(_one_line(error))
            sys.exit(1)
        except typer.Abort:
            if not standalone_mode:
                raise
            typer.echo("Aborted.", err=True)
            sys.exit(1)
        if not standalone_mode:
            return result
        # An exit code where a command ended by typer.Exit, else None.
        sys.exit(result)


def _one_line(error: Any) -> str:
    # Pydantic's explanation says the same twice.
    message = str(error.format_message()).partition(", unable to parse")[0].rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "pararnn"
    return f"{message}; see {command} --help"
