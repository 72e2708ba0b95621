"""Middleware of every request: its id, its log line, its key, and one shape for every error."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable
from contextlib import ExitStack, closing

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pararnn_server.access.body_budget import BodyLease
from pararnn_server.concurrency.fair_threads import current_key
from pararnn_server.errors import BadRequest, Internal, ServerError
from pararnn_server.http.error_response import VERSION_HEADER, error_response, is_of_messages
from pararnn_server.http.request_id import MESSAGE_REQUEST_ID, REQUEST_ID, usable_request_id
from pararnn_server.http.request_state import begin_request_state, request_state
from pararnn_server.models.service import Service

PUBLIC_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
ADMIN_PATHS = frozenset({"/metrics", "/v1/admin/sessions"})
# The admin key sees there what is of all keys.
SHARED_PATHS = frozenset({"/v1/monitor"})
# Of no key of a user: they count against no limit.
UNCOUNTED_PATHS = PUBLIC_PATHS | ADMIN_PATHS
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_access = logging.getLogger("pararnn.access")
_faults = logging.getLogger("pararnn.error")


class Envelope:
    """Outermost: gives every answer its x-request-id, logs it, and turns exceptions into error bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything but HTTP through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        request_id = usable_request_id(asked.get(REQUEST_ID, ""))
        state = begin_request_state(scope)
        state.request_id = request_id
        names = (REQUEST_ID, MESSAGE_REQUEST_ID) if _speaks_anthropic(scope, asked) else (REQUEST_ID,)
        began, sent = time.monotonic(), 0

        async def send_named(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.start":
                sent = message["status"]
                headers = MutableHeaders(scope=message)
                for name in names:
                    headers[name] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:
            failure = error if isinstance(error, ServerError) else _fault(error, request_id)
            answer = error_response(failure, scope)
            state.outcome = answer.status_code
            # Once a status has left, the answer can only be broken off.
            if not sent:
                await answer(scope, receive, send_named)
        finally:
            _log(
                scope, sent if state.outcome is None else state.outcome, time.monotonic() - began, request_id
            )


class Access:
    """Checks the Host header where there are no keys, else the key; holds the key to its limits."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse before any of the body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with ExitStack() as held:
            try:
                key = request_state(scope).key = self._key(scope, headers)
                # Work handed to shared threads takes its turn by this key.
                current_key.set(key)
                if scope["path"] not in UNCOUNTED_PATHS and not request_state(scope).is_admin:
                    self._hold(scope, key, held)
            except ServerError as error:
                await error_response(error, scope)(scope, receive, send)
                return
            if scope["method"] == "HEAD":
                # The server leaves the body out of an answer to the scope that it made.
                scope = {**scope, "method": "GET"}
                request_state(scope).is_head = True

            def send_last(message: Message) -> Awaitable[None]:
                # Before the last byte leaves: the client may send its next request as soon as it has that.
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    held.close()
                return send(message)

            await self._app(scope, receive, send_last)

    def _hold(self, scope: Scope, key: str, held: ExitStack) -> None:
        """Count the request against its key's limits until it ends. Raises TooManyRequests."""
        method, state = scope["method"], request_state(scope)
        ends_work = method == "DELETE" or (method == "POST" and scope["path"].endswith("/cancel"))
        takes_tokens = method == "POST" and not ends_work
        limits = self._service.limits
        state.tokens = held.enter_context(
            # Deletes and cancels must pass when the key is at its limit, or nothing could end its work.
            limits.admitted(key, takes_tokens=takes_tokens, ends_work=ends_work)
        )
        state.body = held.enter_context(closing(BodyLease(self._service.bodies, key)))

    def _key(self, scope: Scope, headers: Headers) -> str:
        """Return the name of the key. Raises BadRequest or Unauthorized."""
        path, keys, settings = scope["path"], self._service.keys, self._service.settings
        # HTTP/1.0 has no Host header, and no browser speaks it.
        has_host = scope.get("http_version") != "1.0" or "host" in headers
        if has_host and keys.anonymous and not settings.allow_anonymous:
            _check_host(headers.get("host", ""), settings.host)
        if path in PUBLIC_PATHS:
            return ""
        if path in ADMIN_PATHS:
            keys.check_admin(headers)
            return ""
        if path in SHARED_PATHS and keys.is_admin(headers):
            request_state(scope).is_admin = True
            return ""
        return keys.owner(headers)


def _speaks_anthropic(scope: Scope, headers: Headers) -> bool:
    """Return True for a request of one of Anthropic's clients, which look for the id under another name."""
    return is_of_messages(scope["path"]) or VERSION_HEADER in headers


def _fault(error: Exception, request_id: str) -> Internal:
    _faults.error("request %s failed", request_id, exc_info=error)
    return Internal("The server failed; its log has the reason under this x-request-id.")


def _check_host(host: str, bound: str) -> None:
    """A web page that rebinds its own name to this address sends that name."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name.lower() not in LOOPBACK_NAMES | {bound.lower()}:
        message = "The Host header does not name this server; set keys or --allow-anonymous to accept others."
        raise BadRequest(message, param="host", code="invalid_host")


def _log(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    """The path as it came, still percent-encoded, so that no request can write a line of its own."""
    state = request_state(scope)
    _access.info(
        "%s %s %d %.1f ms id=%s%s%s",
        scope["method"],
        scope.get("raw_path", b"").decode("ascii", "replace"),
        status,
        seconds * 1e3,
        request_id,
        f" key={state.key}" if state.key else "",
        f" recorded={json.dumps(state.recorded)}" if state.recorded else "",
    )
