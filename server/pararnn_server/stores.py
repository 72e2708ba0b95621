"""The session store that the settings name."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import cast

from pararnn_server.keys import ConfigurationError
from pararnn_server.sessions.memory_store import MemoryStore
from pararnn_server.sessions.sqlite_store import SqliteStore
from pararnn_server.sessions.store import SessionStore, StoreUnusable
from pararnn_server.settings import Settings

FILE_NAME = "sessions.sqlite"


def open_store(settings: Settings) -> SessionStore:
    """Raises ConfigurationError, naming the option, for a store that cannot be used."""
    if settings.store == "memory":
        return MemoryStore()
    option = "data_dir" if settings.store == "sqlite" else "store"
    try:
        if settings.store == "sqlite":
            return SqliteStore(store_file(settings))
        return _redis_store(settings.store)
    except StoreUnusable as error:
        raise ConfigurationError(f"{option}: {error}") from error


def _redis_store(url: str) -> SessionStore:
    """Its library is asked for by those who use it only."""
    try:
        module = import_module("pararnn_server.sessions.redis_store")
    except ModuleNotFoundError as error:
        raise StoreUnusable("a redis store needs the extra: pip install 'pararnn-server[redis]'") from error
    return cast("SessionStore", module.RedisStore(url))


def store_file(settings: Settings) -> Path:
    """Where this user's programs keep what must outlive them, unless the settings say otherwise."""
    if settings.data_dir is not None:
        return settings.data_dir / FILE_NAME
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return folder / "pararnn" / FILE_NAME
