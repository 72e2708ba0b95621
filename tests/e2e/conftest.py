"""A server with one key, once for a file of tests; signals for the servers of all tests."""

import signal
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


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Let processes that tests start receive SIGHUP, which `nohup make test` ignores for all of them."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
