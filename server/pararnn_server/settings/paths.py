"""Paths as a person writes them, and folders that may not be looked into."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return the path with a leading ~ expanded. Raises ValueError where that user has no home directory."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{os.fspath(text)}: no home directory is known; write the whole path") from None


def home() -> Path | None:
    """Return the home directory of this process's user, None where there is none.

    A container may run as a user without HOME and without an entry in the password file.
    """
    try:
        return Path.home()
    except RuntimeError:
        return None


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path, or other text from the system, as UTF-8 holds it: U+FFFD for bytes that are none."""
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
