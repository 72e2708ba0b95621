"""The session store that the settings name."""

from __future__ import annotations

import os
from pathlib import Path

from pararnn_server.keys import ConfigurationError
from pararnn_server.sessions.memory_store import MemoryStore
from pararnn_server.sessions.sqlite_store import SqliteStore, StoreUnusable
from pararnn_server.sessions.store import SessionStore
from pararnn_server.settings import Settings

FILE_NAME = "sessions.sqlite"


def open_store(settings: Settings) -> SessionStore:
    """Raises ConfigurationError, naming the option, for a store that cannot be used."""
    if settings.store == "memory":
        return MemoryStore()
    try:
        return SqliteStore(store_file(settings))
    except StoreUnusable as error:
        raise ConfigurationError(f"data_dir: {error}") from error


def store_file(settings: Settings) -> Path:
    """Where this user's programs keep what must outlive them, unless the settings say otherwise."""
    if settings.data_dir is not None:
        return settings.data_dir / FILE_NAME
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return folder / "pararnn" / FILE_NAME
