from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.redis_server import redis_server
from tests.server.http_server import HttpServer, serving


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> Loaded:
    return load(Settings(checkpoint=str(checkpoint)))


@pytest.fixture(scope="session")
def server(loaded: Loaded) -> Iterator[HttpServer]:
    """Shared: a test leaves nothing running."""
    with serving(loaded) as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared: a test that wants it empty empties it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
