"""A server with one key, once for a file of tests."""

from collections.abc import Iterator

import pytest

from tests.e2e.serve_process import KEY, serve_process
from tests.fixtures import tiny_checkpoint


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server whose only key is KEY."""
    folder = tmp_path_factory.mktemp("served")
    keys = folder / "keys"
    keys.write_text(f"one:{KEY}\n")
    with serve_process(tiny_checkpoint(folder / "tiny"), "--keys-file", str(keys)) as serve:
        yield serve.url
