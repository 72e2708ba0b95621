from collections.abc import Iterator

import pytest

from tests.redis_server import redis_server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared: a test that wants it empty empties it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
