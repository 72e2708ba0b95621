"""Servers of models that call tools, each once for a file of tests."""

from collections.abc import Iterator

import pytest

from tests.server.http_server import HttpServer
from tests.server.text.tool_templates import HERMES, PLAIN_JSON
from tests.server.tool_server import random_server, scripted_server


@pytest.fixture(scope="module")
def scripted() -> Iterator[HttpServer]:
    """A model that writes scripts."""
    with scripted_server() as server:
        yield server


@pytest.fixture(scope="module")
def hermes() -> Iterator[HttpServer]:
    """A model with random weights whose template writes calls as Hermes."""
    with random_server(HERMES) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[HttpServer]:
    """A model with random weights whose template writes calls as plain JSON."""
    with random_server(PLAIN_JSON) as server:
        yield server
