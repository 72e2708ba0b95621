"""Code of both clients: requests from calls, results and errors from responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar

import httpx

from pararnn_client.calls import Call
from pararnn_client.connection import authorization, shown
from pararnn_client.errors import ConnectionFailed, InvalidReply, status_error_class
from pararnn_client.types import Json

T = TypeVar("T")

# After these errors no byte of the request was sent, so any request may be repeated.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class HttpOptions(TypedDict):
    """Arguments of both httpx.Client and httpx.AsyncClient."""

    base_url: httpx.URL
    headers: dict[str, str]
    timeout: httpx.Timeout


def http_options(url: httpx.URL, api_key: str | None, timeout: float) -> HttpOptions:
    """Return the options of an httpx client. Raises PararnnError.

    timeout: seconds without a byte from the server; connecting may take at most 10
    """
    # A reply may take minutes, but a server that runs accepts a connection quickly.
    limits = httpx.Timeout(timeout, connect=min(timeout, 10.0))
    return HttpOptions(base_url=url, headers=authorization(api_key), timeout=limits)


def build_request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    """Return the httpx request of a call."""
    headers = {} if call.key is None else {"Idempotency-Key": call.key}
    query = dict(call.query) or None
    if isinstance(call.body, bytes):
        headers["Content-Type"] = "application/octet-stream"
        return http.build_request(call.method, call.path, content=call.body, params=query, headers=headers)
    return http.build_request(call.method, call.path, json=call.body, params=query, headers=headers)


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Return the result of a call whose response was read completely. Raises StatusError or InvalidReply."""
    raise_for_status(response)
    return call.parse(response.content if call.is_file else _json_object(response))


def raise_for_status(response: httpx.Response) -> None:
    """Raise the StatusError of an answer of 400 or above, which was read completely."""
    if response.is_success:
        return
    error = _error_fields(response)
    raise status_error_class(response.status_code)(
        str(error.get("message") or f"the server answered {response.status_code}"),
        status=response.status_code,
        kind=error.get("type"),
        code=error.get("code"),
        param=error.get("param"),
        request_id=response.headers.get("x-request-id"),
        retry_after=_seconds(response.headers.get("retry-after")),
        should_retry=_flag(response.headers.get("x-should-retry")),
    )


def connection_failed(error: httpx.HTTPError, base_url: httpx.URL) -> ConnectionFailed:
    """Return the ConnectionFailed for an httpx error of a request to base_url."""
    sent = not isinstance(error, _NOT_SENT)
    what = "lost the connection to" if sent else "cannot reach"
    return ConnectionFailed(f"{what} {shown(base_url)}: {error or type(error).__name__}", request_sent=sent)


def _error_fields(response: httpx.Response) -> Mapping[str, Any]:
    try:
        error = response.json().get("error")
    # A proxy may answer with HTML, or with JSON that is no object.
    except (ValueError, AttributeError):
        error = None
    return error if isinstance(error, Mapping) else {}


def _json_object(response: httpx.Response) -> Json:
    try:
        body = json.loads(response.content) if response.content else {}
    except ValueError:
        raise InvalidReply(f"{shown(response.url)} answered {response.status_code} without JSON") from None
    if not isinstance(body, dict):
        raise InvalidReply(f"{shown(response.url)} answered with JSON that is not an object")
    return body


def _seconds(value: str | None) -> float | None:
    try:
        # HTTP also allows a date here. Then the client's own waits apply.
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def _flag(value: str | None) -> bool | None:
    return None if value is None else value.strip().lower() == "true"
