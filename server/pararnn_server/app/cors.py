"""Browsers: which origins may be named, and clear answers to OPTIONS where a page is not let in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.errors import Forbidden, NotFound
from pararnn_server.http.error_response import error_response
from pararnn_server.settings.environment import option_name
from pararnn_server.settings.server_settings import Settings

# A browser sends scheme://host, in lower case and without a default port, or "null".
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_origins(settings: Settings) -> None:
    """Raise ConfigurationError for an origin that no browser would ever send."""
    for origin in settings.cors_origin:
        if (meant := _as_sent(origin)) != origin:
            message = f"{option_name('cors_origin')}: {origin!r} matches no page; write {meant!r}"
            raise ConfigurationError(f"{message}: scheme, host and, if the page has one, the port")


def _as_sent(origin: str) -> str:
    """The origin in the form in which a browser would send it; a guess where it has none."""
    scheme, separator, rest = origin.strip().lower().partition("://")
    if not separator:
        scheme, rest = "http", scheme if scheme not in ("*", "null") else ""
        if not rest:
            return origin
    host = rest.partition("/")[0].removesuffix(_DEFAULT_PORTS.get(scheme, "/"))
    meant = f"{scheme}://{host}"
    return meant if _ORIGIN.fullmatch(meant) else "https://app.example"


class Preflight:
    """Answers OPTIONS, but for preflights of the named origins: those are for the CORS middleware within."""

    def __init__(self, app: ASGIApp, settings: Settings, routes: FastAPI) -> None:
        self._app = app
        self._origins = frozenset(settings.cors_origin)
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else through."""
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if origin and "access-control-request-method" in headers:
            if self._origins & {"*", origin}:
                return await self._app(scope, receive, send)
            message = (
                f"Pages of {origin[:200]} may not call this server."
                f" To let them in, start it with --cors-origin {origin[:200]} (PARARNN_CORS_ORIGIN)."
            )
            return await error_response(Forbidden(message, param="origin"), scope)(scope, receive, send)
        methods = allowed_methods(self._routes, scope["path"])
        if not methods:
            message = f"There is nothing at {scope['path']}: /openapi.json lists all paths."
            error = NotFound(message, code="unknown_path")
            return await error_response(error, scope)(scope, receive, send)
        answer = Response(status_code=204, headers={"allow": ", ".join(methods)})
        return await answer(scope, receive, send)


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Methods of a path in alphabetical order, none where there is nothing."""
    found = set(_documented_methods(app, path))
    # HEAD is served wherever GET is, but the description lists no HEAD.
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []


def _documented_methods(app: FastAPI, path: str) -> Iterator[str]:
    if path == "/openapi.json":
        yield "GET"
    for template, operations in app.openapi()["paths"].items():
        if compile_path(template)[0].match(path):
            yield from (method.upper() for method in operations)
