"""Folders outside the repository: downloads, tokenised text and training runs."""

import os
from collections.abc import Mapping
from pathlib import Path

TRAIN_DIR_VARIABLE = "PARARNN_TRAIN_DIR"


def training_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return $PARARNN_TRAIN_DIR, else pararnn/distil in the user's cache."""
    named = environment.get(TRAIN_DIR_VARIABLE)
    if named:
        return Path(named)
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pararnn" / "distil"
