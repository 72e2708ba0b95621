"""Search for a checkpoint: the argument, the set folder, fetched models, the package, the repository."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.fetch.model_folder import fetched_model, model_folder
from pararnn_server.settings.environment import option_name
from pararnn_server.settings.paths import printable
from pararnn_server.settings.server_settings import Settings

_HERE = Path(__file__).resolve().parents[1]


def find_checkpoint(settings: Settings, argument: str | None = None) -> Path:
    """Directory of a checkpoint. Raises ConfigurationError that lists where it looked.

    argument: name of the command's argument that gave settings.checkpoint; None: it was the option.
    With a name, the first folder that has a checkpoint of that name. Without one, the first checkpoint of the
    first folder that has any, in int8 if NAME-int8 is beside it; of fetched models, the chat model.
    """
    if settings.checkpoint is not None and is_checkpoint(Path(settings.checkpoint)):
        return Path(settings.checkpoint)
    fetched = model_folder(settings.model_dir)
    folders = list(_folders(settings, fetched))
    for folder in folders:
        if settings.checkpoint:
            found = _named(folder, settings.checkpoint)
        else:
            found = fetched_model(folder) if folder == fetched else _first(folder)
        if found is not None:
            return found
    wanted = f"checkpoint {printable(settings.checkpoint)!r}" if settings.checkpoint else "any checkpoint"
    looked = ", ".join(str(folder) for folder in folders) or "nowhere else"
    name = argument or option_name("checkpoint")
    raise ConfigurationError(
        f"{name}: cannot find {wanted}: it must be a directory with a config.json, or"
        f" the name of one in PARARNN_CHECKPOINT_DIR, fetched or among those that ship (looked in"
        f" {printable(looked)})"
    )


def is_checkpoint(folder: Path) -> bool:
    """Return True if the folder looks like a checkpoint; loading checks the rest.

    Raises ConfigurationError for a folder that may not be entered.
    """
    try:
        return stat.S_ISREG(os.stat(folder / "config.json").st_mode)
    except PermissionError as error:
        name = option_name("checkpoint")
        raise ConfigurationError(f"{name}: {folder} cannot be entered: {error.strerror}") from None
    except (OSError, ValueError):
        return False


def shipped_checkpoints() -> Iterator[Path]:
    """Folders of checkpoints in the installed package and in the repository, where they exist."""
    for folder in (_HERE / "checkpoints", _HERE.parents[1] / "checkpoints"):
        if os.path.isdir(folder):
            yield folder


def _folders(settings: Settings, fetched: Path | None) -> Iterator[Path]:
    if settings.checkpoint_dir is not None:
        yield settings.checkpoint_dir
    if fetched is not None:
        yield fetched
    yield from shipped_checkpoints()


def _named(folder: Path, name: str) -> Path | None:
    path = folder / name
    # A path was tried before: in the folders only a name is looked for.
    return path if "/" not in name and is_checkpoint(path) else None


def _first(folder: Path) -> Path | None:
    if is_checkpoint(folder):
        return folder
    # A neighbour that may not be entered, such as lost+found, is none of those that are looked for.
    members = sorted(path for path in folder.glob("*") if os.path.isfile(path / "config.json"))
    if not members:
        return None
    in_int8 = members[0].with_name(f"{members[0].name}-int8")
    return in_int8 if in_int8 in members else members[0]
