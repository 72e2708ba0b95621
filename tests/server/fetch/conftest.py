import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.fetch.package_index import PipSettings

from tests.server.fetch.index_server import Index, index_server, make_wheel


def _of_environment(cls: type[PipSettings]) -> PipSettings:
    return cls((os.environ["PIP_INDEX_URL"], *os.environ.get("PIP_EXTRA_INDEX_URL", "").split()))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with one wheel, which pip and this program are configured to use."""
    (tmp_path / "built").mkdir()
    wheel, file = make_wheel(tmp_path / "built", bytes(range(256)) * 4000)
    # Asking pip for its configuration takes half a second.
    monkeypatch.setattr(PipSettings, "read", classmethod(_of_environment))
    monkeypatch.setattr("pararnn_server.fetch.download.PAUSES_SECONDS", (0.0, 0.0, 0.0))
    with index_server(Index(wheel, file.read_bytes())) as served:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", served.url)
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield served
