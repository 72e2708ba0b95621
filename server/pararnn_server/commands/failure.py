"""Failures of commands: one line that says what is wrong, exit code 1, no traceback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NoReturn

import typer

from pararnn_core.checkpoint import CheckpointError
from pararnn_core.ops import NativeLibraryMissing
from pararnn_core.ops.devices import DeviceUnavailable
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.commands.complain import complain
from pararnn_server.settings.paths import printable
from pararnn_server.text.tokenizer import TokenizerError


class CommandFailed(Exception):
    """A reason to give up that the person at the terminal can mend."""


EXPECTED = (
    CommandFailed,
    CheckpointError,
    ConfigurationError,
    DeviceUnavailable,
    NativeLibraryMissing,
    TokenizerError,
)


@contextlib.contextmanager
def one_line_errors(*further: type[Exception]) -> Iterator[None]:
    """Also a decorator. Errors outside of EXPECTED and further are faults of this program, with traceback.

    But for those of the system that name a file: a folder that may not be entered, a full disk.
    """
    expected: tuple[type[Exception], ...] = (*EXPECTED, *further)
    try:
        yield
    except expected as error:
        _fail(str(error))
    except OSError as error:
        # Without a file it is no mistake of the user's, such as a broken pipe inside.
        if error.filename is None:
            raise
        _fail(f"{printable(os.fsdecode(error.filename))}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    complain(message)
    raise typer.Exit(1) from None
