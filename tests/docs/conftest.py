from collections.abc import Iterator, Mapping

import pytest
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings

from tests.docs.markdown_blocks import ROOT
from tests.server.http_server import serving

SHIPPED = ROOT / "checkpoints" / "paragru-5m-stdlib-int8"
KEYS = {
    "api_keys": "ada:key-of-ada-not-secret,bob:key-of-bob-not-secret",
    "admin_key": "key-of-admin-not-secret",
}
"""As docs/quickstart.md sets them."""


@pytest.fixture(scope="session")
def addresses() -> Iterator[Mapping[str, str]]:
    """The addresses in documents, each with that of a server here: two without keys and one with them."""
    loaded = load(Settings(checkpoint=str(SHIPPED)))
    with serving(loaded) as free, serving(loaded, **KEYS) as keyed, serving(loaded) as other:
        yield {
            "http://127.0.0.1:8000": free.url,
            "http://127.0.0.1:8001": keyed.url,
            "http://127.0.0.1:8002": other.url,
        }
