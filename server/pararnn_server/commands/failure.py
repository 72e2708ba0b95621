"""How a command fails: one line that says what is wrong, exit code 1, no traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from pararnn_client import PararnnError

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.ops import NativeLibraryMissing
from pararnn_server.keys import ConfigurationError
from pararnn_server.tokenizer import TokenizerError


class CommandFailed(Exception):
    """A reason to give up that the person at the terminal can mend."""


EXPECTED = (
    CommandFailed,
    CheckpointError,
    ConfigurationError,
    NativeLibraryMissing,
    PararnnError,
    TokenizerError,
)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Also a decorator. Errors outside of EXPECTED are faults of this program and keep their traceback."""
    try:
        yield
    except EXPECTED as error:
        typer.echo(f"pararnn: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
