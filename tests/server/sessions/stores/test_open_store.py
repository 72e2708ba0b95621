"""A store that cannot be opened says what to do."""

import re
import sys
from pathlib import Path

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.sessions.stores.open_store import open_store
from pararnn_server.settings.server_settings import Settings

ROOT = Path(__file__).parents[4]


def test_a_missing_redis_client_names_the_package_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pararnn_server.sessions.stores.redis_store", None)
    declared = re.search(r'^redis = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    with pytest.raises(ConfigurationError) as raised:
        open_store(Settings(store="redis://127.0.0.1:9/0"))
    assert f"{sys.executable} -m pip install '{declared[1]}'" in str(raised.value)
