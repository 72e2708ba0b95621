"""The session store that the settings name."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.sessions.stores.memory_store import MemoryStore
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.stores.store import SessionStore, StoreUnusable
from pararnn_server.settings.environment import option_name
from pararnn_server.settings.paths import home
from pararnn_server.settings.server_settings import Settings
from pararnn_server.settings.store_address import shown_store

FILE_NAME = "sessions.sqlite"


def open_store(settings: Settings) -> SessionStore:
    """Open the store that the settings name. Raises ConfigurationError, naming the option."""
    if settings.store == "memory":
        return MemoryStore()
    option = option_name("data_dir" if settings.store == "sqlite" else "store")
    try:
        if settings.store == "sqlite":
            return SqliteStore(store_file(settings), settings.store_reserve_bytes)
        return _redis_store(settings.store)
    except StoreUnusable as error:
        raise ConfigurationError(f"{option}: {error}") from error
    except TypeError:
        # The redis client raises this for an unknown option of the address.
        shown = shown_store(settings.store)
        raise ConfigurationError(f"{option}: {shown}: an option after the ? is unknown to redis") from None


def _redis_store(url: str) -> SessionStore:
    """Open a redis store."""
    # Its client is an extra, so it is imported for those who use it only.
    try:
        module = import_module("pararnn_server.sessions.stores.redis_store")
    except ModuleNotFoundError as error:
        raise StoreUnusable(
            f"a redis store needs Python's redis client: {sys.executable} -m pip install 'redis>=5.0'"
        ) from error
    return cast("SessionStore", module.RedisStore(url))


def store_file(settings: Settings) -> Path:
    """Return the file of the sqlite store: by default where this user's programs keep their state.

    Raises ConfigurationError where the user has no home directory.
    """
    if settings.data_dir is not None:
        return settings.data_dir / FILE_NAME
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if os.path.isabs(state):
        return Path(state) / "pararnn" / FILE_NAME
    folder = home()
    if folder is None:
        raise ConfigurationError(
            f"{option_name('data_dir')}: user {os.getuid()} has no home directory (no HOME, no entry in the"
            " password file): name a directory for sessions, or give --store memory"
        )
    return folder / ".local" / "state" / "pararnn" / FILE_NAME
