"""Each client, unmodified, passes its checks, and docs/clients.md says so."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.clients import CLIENTS, Client
from tests.clients.features import FEATURES
from tests.clients.install import DEFAULT_FOLDER, is_installed
from tests.clients.outcomes import outcomes
from tests.clients.scripted_server import Servers, scripted_servers
from tests.clients.table import page, row, versions
from tests.rooms import ROOT

INSTALLED = Path(os.environ.get("CLIENTS_FOLDER", DEFAULT_FOLDER))
PAGE = ROOT / "docs" / "clients.md"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with scripted_servers(tmp_path_factory.mktemp("scripted")) as running:
        yield running


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_passes_its_checks(client: Client, request: pytest.FixtureRequest) -> None:
    if not is_installed(client, INSTALLED):
        pytest.skip(f"{client.name} is not installed below {INSTALLED}: `make clients` installs it")
    found = outcomes(client, INSTALLED, request.getfixturevalue("servers"))
    assert [outcome for outcome in found if outcome.error is not None] == []
    assert {outcome.feature for outcome in found} <= FEATURES.keys()
    document = PAGE.read_text()
    assert row(client, found) in document
    assert page({client: found}).partition("\n\n")[2] in document


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_page_names_the_pinned_versions(client: Client) -> None:
    line = ", ".join(f"{name} {version}" for name, version in versions(client).items())
    assert f"**{client.name}**: {line}" in PAGE.read_text()
