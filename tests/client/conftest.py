from collections.abc import Iterator

import pytest
from pararnn_server.models.loading import Loaded, load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.server.http_server import HttpServer, serving


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    path = tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
    return load(Settings(checkpoint=str(path)))


@pytest.fixture(scope="session")
def server(loaded: Loaded) -> Iterator[HttpServer]:
    """A real server over a tiny model; a test leaves nothing running."""
    with serving(loaded) as running:
        yield running
