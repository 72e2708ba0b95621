"""Replacement of a whole directory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, keep: Callable[[str], bool]) -> Iterator[Path]:
    """Yield a new directory, which replaces `target` when the block succeeds and is removed if it fails.

    From an old `target`, entries whose names `keep` accepts are copied. The others are lost. Raises OSError.
    """
    # It is beside the target, because a rename works only within one file system.
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        _copy_kept(target, fresh, keep)
        # After a power cut the new name must not lead to files whose bytes were never written.
        for path in (fresh, *fresh.rglob("*")):
            if path.is_file() or path.is_dir():
                _sync(path)
        _swap(fresh, target)
        # The rename survives a power cut only once its directory is synced.
        _sync(target.parent)
    finally:
        # After success the directory has its new name, and nothing is left to remove.
        shutil.rmtree(fresh, ignore_errors=True)


def _copy_kept(target: Path, fresh: Path, keep: Callable[[str], bool]) -> None:
    for entry in target.iterdir() if target.exists() else ():
        if not keep(entry.name):
            continue
        # Links stay links, because their targets may be outside of this directory.
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, fresh / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, fresh / entry.name, follow_symlinks=False)


def _swap(fresh: Path, target: Path) -> None:
    """Put fresh in the place of target."""
    # rename() cannot replace a directory with entries. So the old one is moved aside, and back on failure.
    if not target.exists():
        fresh.rename(target)
        return
    aside = fresh.with_suffix(".old")
    target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise
    # Until here the old directory is the way back from a failure.
    shutil.rmtree(aside)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
