"""The line that a failed command ends with. The command line imports it before it knows the command."""

from __future__ import annotations

import typer


def complain(message: str) -> None:
    """Write a message as one line on standard error."""
    typer.echo(f"pararnn: {' '.join(message.split())}", err=True)
