"""The page for browsers at /: files that were built from clients/page and are sent as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pararnn_server.errors import MethodNotAllowed
from pararnn_server.http.error_response import error_response

BUILT = Path(__file__).parents[1] / "http" / "ui"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No inline script or style, no other host, no frame, and no text of a model that becomes markup.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types svelte-trusted-html",
    )
)
_HEADERS = {
    # The names of the files stay the same from version to version, so a browser asks each time.
    "cache-control": "no-cache",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_METHODS = "GET, HEAD, OPTIONS"


@dataclass(frozen=True)
class PageFile:
    """A file of the page. etag: strong, of the bytes."""

    content: bytes
    media_type: str
    etag: str


class Page:
    """Answers / to browsers and the files of the page to all. They need no key: they hold no data."""

    def __init__(self, app: ASGIApp, files: Mapping[str, PageFile]) -> None:
        self._app = app
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else through."""
        file = self._files.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or (scope["path"] == "/" and not _asks_for_page(scope)):
            await self._app(scope, receive, send)
        else:
            await _answer(file, scope)(scope, receive, send)


def page_files(folder: Path = BUILT) -> dict[str, PageFile]:
    """Return the files of the page by their paths, read once: no request names a file of the disk."""
    found = {f"/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
    files = {name: _read(path) for name, path in found.items() if path.suffix in _TYPES}
    return {"/" if name == f"/{_INDEX}" else name: file for name, file in files.items()}


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    return PageFile(content, _TYPES[path.suffix], f'"{sha256(content).hexdigest()[:32]}"')


def _asks_for_page(scope: Scope) -> bool:
    """Return True for a browser that opens an address. Other clients ask for JSON, or for anything."""
    if scope["method"] not in ("GET", "HEAD"):
        return False
    kinds = [kind.partition(";") for kind in Headers(scope=scope).get("accept", "").split(",")]
    return any(
        name.strip().lower() == "text/html" and quality.replace(" ", "") not in ("q=0", "q=0.0")
        for name, _, quality in kinds
    )


def _answer(file: PageFile, scope: Scope) -> Response:
    method, asked = scope["method"], Headers(scope=scope).get("if-none-match", "")
    if method == "OPTIONS":
        return Response(status_code=204, headers={"allow": _METHODS})
    if method not in ("GET", "HEAD"):
        refused = MethodNotAllowed(f"{method} is not allowed here: send GET.", headers={"allow": _METHODS})
        return error_response(refused, scope)
    headers = {**_HEADERS, "etag": file.etag}
    if scope["path"] == "/":
        headers["vary"] = "accept"
    # Proxies that compress an answer make its tag a weak one.
    known = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    if known & {file.etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
