"""Location of the sqlite store, and a store that cannot be opened."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.sessions.stores.open_store import open_store, store_file
from pararnn_server.settings.server_settings import Settings

ROOT = Path(__file__).parents[4]


def _no_entry(uid: int) -> Any:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the password file."""
    for name in ("HOME", "XDG_STATE_HOME", "PARARNN_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _no_entry)


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_directory_is_asked_for_one() -> None:
    with pytest.raises(ConfigurationError, match=rf"^--data-dir \(PARARNN_DATA_DIR\): user {os.getuid()} "):
        store_file(Settings())


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_directory_may_name_one(tmp_path: Path) -> None:
    assert store_file(Settings(data_dir=tmp_path)).parent == tmp_path


@pytest.mark.usefixtures("nobody")
def test_a_path_in_a_home_directory_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no home directory is known"):
        Settings(data_dir="~/x")


def test_the_state_directory_of_the_user_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PARARNN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_file(Settings()) == tmp_path / ".local" / "state" / "pararnn" / "sessions.sqlite"


def test_a_missing_redis_client_names_the_package_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pararnn_server.sessions.stores.redis_store", None)
    declared = re.search(r'^redis = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    with pytest.raises(ConfigurationError) as raised:
        open_store(Settings(store="redis://127.0.0.1:9/0"))
    assert f"{sys.executable} -m pip install '{declared[1]}'" in str(raised.value)
