"""Connections to a server: proxies, certificates, keys, and addresses without their passwords."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TypeVar

import httpx

from pararnn_client.errors import ConnectionFailed

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")

Transport = TypeVar("Transport", httpx.HTTPTransport, httpx.AsyncHTTPTransport)


def parse_url(base_url: str) -> httpx.URL:
    """Parse a URL. Raises ConnectionFailed if it is not one, or has another scheme than http and https."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConnectionFailed(f"the server's address is no URL: {error}", request_sent=False) from None
    if url.scheme not in ("http", "https"):
        # What holds an @ may hold a password, which no error shows.
        write = "" if "://" in base_url or "@" in base_url else f": write http://{base_url.lstrip('/')}"
        message = f"the server's address must begin with http:// or https://{write}"
        raise ConnectionFailed(message, request_sent=False)
    return url


def shown(url: httpx.URL) -> str:
    """Return the URL without user and password, so that errors do not contain them."""
    return str(url.copy_with(username=None, password=None)) if url.userinfo else str(url)


def authorization(api_key: str | None) -> dict[str, str]:
    """Return the header with the key. Raises ConnectionFailed for a key that is not valid in a header."""
    if not api_key:
        return {}
    if not api_key.isascii() or not api_key.isprintable():
        message = "the API key holds a line break or a character that is not ASCII: check how it was copied"
        raise ConnectionFailed(message, request_sent=False)
    return {"Authorization": f"Bearer {api_key}"}


def loopback_transport(kind: type[Transport], url: httpx.URL) -> Transport | None:
    """Return a transport that ignores proxies for a server on this machine, None for any other server."""
    # No proxy can reach a loopback address. Without TLS reading certificates would only cost time.
    return kind(verify=url.scheme != "http") if is_loopback(url) else None


def is_loopback(url: httpx.URL) -> bool:
    """Return True if the URL's host is this machine."""
    if url.host == "localhost" or url.host.endswith(".localhost"):
        return True
    try:
        address = ip_address(url.host)
    except ValueError:
        return False
    # A connection to 0.0.0.0 or :: reaches this machine too.
    return address.is_loopback or address.is_unspecified


@contextmanager
def preparing(url: httpx.URL) -> Iterator[None]:
    """Turn errors from proxies and certificates of the environment into ConnectionFailed."""
    try:
        yield
    except (OSError, ImportError, ValueError, httpx.InvalidURL) as error:
        names = [name for each in _VARIABLES for name in (each, each.lower()) if os.environ.get(name)]
        advice = f"; check {', '.join(names)} of the environment" if names else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"cannot prepare a connection to {shown(url)}: {str(why).rstrip('.')}{advice}"
        raise ConnectionFailed(message, request_sent=False) from error
