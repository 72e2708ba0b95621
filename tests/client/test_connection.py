"""Proxies, certificates and secrets of the environment: loopback works, all else is one PararnnError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from pararnn_client import AsyncPararnnClient, ConnectionFailed, PararnnClient
from pararnn_client.connection import is_loopback, shown

from tests.server.http_server import HttpServer

BROKEN = {
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "socks4://me:s3cret@nowhere",
    "SSL_CERT_FILE": "/nonexistent",
}
ELSEWHERE = "http://me:s3cret@pararnn.invalid"


def _complete(url: str) -> None:
    with PararnnClient(url) as client:
        client.complete("a", max_tokens=1)


def _complete_awaiting(url: str) -> None:
    async def call() -> None:
        async with AsyncPararnnClient(url) as client:
            await client.complete("a", max_tokens=1)

    asyncio.run(call())


@pytest.fixture(params=[_complete, _complete_awaiting], ids=["blocking", "awaiting"])
def complete(request: pytest.FixtureRequest) -> Callable[[str], None]:
    call: Callable[[str], None] = request.param
    return call


@pytest.mark.parametrize("name", BROKEN)
def test_a_server_on_this_machine_needs_no_proxy_and_no_certificate(
    name: str, complete: Callable[[str], None], server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, BROKEN[name])
    complete(server.url)


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE"])
def test_what_the_environment_breaks_is_one_error_without_secrets(
    name: str, complete: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, BROKEN[name])
    with pytest.raises(ConnectionFailed, match=name) as failure:
        complete(ELSEWHERE)
    assert "s3cret" not in str(failure.value)


def test_a_server_that_is_not_reached_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionFailed, match=r"http://127\.0\.0\.1:9: ") as failure:
        _complete("http://me:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("key", ["s3cret\n", "s3cr\N{LATIN SMALL LETTER E WITH ACUTE}t", "s3cret\x00"])
def test_a_key_that_no_header_holds_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConnectionFailed, match="API key") as failure:
        PararnnClient(api_key=key)
    assert "s3cr" not in str(failure.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("example.com", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(httpx.URL(f"http://{host}:8000")) is loopback


@pytest.mark.parametrize("userinfo", ["", "me@", "me:s3cret@", ":s3cret@"])
def test_a_shown_url_has_no_password(userinfo: str) -> None:
    assert shown(httpx.URL(f"https://{userinfo}host:1/a?b=c")) == "https://host:1/a?b=c"
