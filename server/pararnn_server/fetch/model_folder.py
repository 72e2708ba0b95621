"""The folder of fetched models, and the one of them that is served without a name."""

from __future__ import annotations

import os
from pathlib import Path

from pararnn_server.fetch.chat_models import CHAT_MODELS, SUFFIXES
from pararnn_server.settings.paths import home


def model_folder(named: Path | None) -> Path | None:
    """Return the named folder, else pararnn/models in the user's cache; None for a user without a home."""
    if named is not None:
        return named
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if os.path.isabs(cache):
        return Path(cache) / "pararnn" / "models"
    folder = home()
    return None if folder is None else folder / ".cache" / "pararnn" / "models"


def fetched_model(folder: Path | None) -> Path | None:
    """Return the fetched model that is served without a name; None if there is none."""
    if folder is None:
        return None
    directories = (folder / model.directory_of(each) for model in CHAT_MODELS for each in SUFFIXES)
    # A folder that may not be entered is none of those that are looked for.
    return next((path for path in directories if os.path.isfile(path / "config.json")), None)
