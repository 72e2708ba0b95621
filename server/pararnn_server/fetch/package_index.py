"""The address of a wheel on the package indexes that pip is configured to use.

pip itself cannot continue a download that broke off, so the file is downloaded here. The index is read by its
specified interface, JSON or HTML.
"""

from __future__ import annotations

import ast
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import httpx

from pararnn_server.fetch.wheel import Wheel

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
PIP_SECONDS = 30.0
MAX_PAGE_BYTES = 32 << 20
# Of pip's configuration; the later ones win.
_SECTIONS = ("global", "download", ":env:")
# pip says its own default only in its help, broken into lines of COLUMNS characters.
_DEFAULT = re.compile(r"--index-url <url>.*?\(default\s+(https?://[^\s)]+)\)", re.DOTALL)
_WIDE = {"COLUMNS": "1000"}
_LINE = re.compile(r"(?P<section>:env:|[\w-]+)\.(?P<key>[\w-]+)=(?P<value>.*)")
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True)
class PipSettings:
    """The settings of pip that name indexes and the way to them."""

    indexes: tuple[str, ...] = ()
    proxy: str | None = None
    cert: str | None = None

    @classmethod
    def read(cls) -> PipSettings:
        """Ask pip, which knows its files, variables and defaults. Without pip there are no indexes."""
        try:
            return cls.of(_said_by_pip("config", "list"), lambda: _said_by_pip("download", "--help"))
        except (OSError, subprocess.SubprocessError):
            # The download by pip, which follows, says what is wrong with pip.
            return cls()

    @classmethod
    def of(cls, listed: str, read_help: Callable[[], str]) -> PipSettings:
        """Read the lines of `pip config list`, and what `pip download --help` says if they name no index."""
        lines = [match for line in listed.splitlines() if (match := _LINE.fullmatch(line.strip()))]
        values: dict[str, str] = {}
        for section in _SECTIONS:
            for match in lines:
                if match["section"] == section:
                    values[match["key"]] = str(ast.literal_eval(match["value"]))
        if values.get("no-index", "false").lower() not in ("false", "0", "no", "off", "f", "n", ""):
            return cls(indexes=())
        first = [values["index-url"]] if "index-url" in values else _DEFAULT.findall(read_help())
        indexes = (*first, *values.get("extra-index-url", "").split())
        return cls(indexes, values.get("proxy") or None, values.get("cert") or None)

    def client(self) -> httpx.Client:
        """Return a client that goes to the indexes as pip does."""
        verify: ssl.SSLContext | bool = True
        if self.cert is not None:
            path = Path(self.cert)
            verify = ssl.create_default_context(
                cafile=None if path.is_dir() else self.cert, capath=self.cert if path.is_dir() else None
            )
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        return httpx.Client(timeout=timeout, follow_redirects=True, proxy=self.proxy, verify=verify)


def _said_by_pip(*arguments: str) -> str:
    """Return the output of pip. Raises OSError or SubprocessError if it cannot run."""
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        capture_output=True,
        text=True,
        timeout=PIP_SECONDS,
        check=True,
        env={**os.environ, **_WIDE},
    ).stdout


def wheel_address(
    client: httpx.Client, indexes: tuple[str, ...], wheel: Wheel, failures: list[str]
) -> str | None:
    """Return the wheel's address on the first index that has it; None if none of them says.

    An index without an answer is passed over, and failures gets the reason.
    """
    for index in indexes:
        if urlsplit(index).scheme in ("http", "https"):
            try:
                found = _on_index(client, index, wheel)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                failures.append(f"{urlsplit(index).hostname}: {_reason(error)}")
                continue
            if found is not None:
                return found
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP status {error.response.status_code}"
    return str(error) or type(error).__name__


def _on_index(client: httpx.Client, index: str, wheel: Wheel) -> str | None:
    page = f"{index.rstrip('/')}/{wheel.project}/"
    with client.stream("GET", page, headers={"Accept": _ACCEPT}) as response:
        response.raise_for_status()
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_PAGE_BYTES:
                raise ValueError(f"{page} is larger than {MAX_PAGE_BYTES} bytes")
        address, is_json = str(response.url), "json" in response.headers.get("content-type", "")
        links = _json_links(body.decode()) if is_json else _links(body.decode())
    for link in links:
        whole = urldefrag(urljoin(address, link)).url
        if unquote(urlsplit(whole).path).rpartition("/")[2] == wheel.file_name:
            return _with_credentials(whole, address)
    return None


def _json_links(page: str) -> Iterator[str]:
    return (str(file["url"]) for file in json.loads(page)["files"])


def _links(page: str) -> Iterator[str]:
    parser = _Links()
    parser.feed(page)
    return iter(parser.found)


class _Links(HTMLParser):
    """Collects the addresses of all links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _with_credentials(address: str, index: str) -> str:
    """Return the address with the user and password of an index on the same host."""
    ours, its = urlsplit(address), urlsplit(index)
    if "@" in its.netloc and "@" not in ours.netloc and its.netloc.rpartition("@")[2] == ours.netloc:
        return ours._replace(netloc=its.netloc).geturl()
    return address
