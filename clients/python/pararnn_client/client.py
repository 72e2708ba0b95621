"""The two clients, blocking and asynchronous. Both have the functions of `calls` as methods."""

from __future__ import annotations

from types import TracebackType

import httpx

from pararnn_client import calls
from pararnn_client.async_transport import AsyncResource, AsyncTransport
from pararnn_client.connection import loopback_transport, parse_url, preparing
from pararnn_client.endpoint import Endpoint, StreamEndpoint
from pararnn_client.exchange import http_options
from pararnn_client.retries import DEFAULT_RETRIES, RetryPolicy
from pararnn_client.sync_transport import SyncResource, SyncTransport

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 600.0


class SessionEndpoints:
    """The calls on sessions."""

    create = Endpoint(calls.create_session)
    list = Endpoint(calls.list_sessions)
    get = Endpoint(calls.get_session)
    update = Endpoint(calls.update_session)
    append = Endpoint(calls.append_to_session)
    fork = Endpoint(calls.fork_session)
    save_snapshot = Endpoint(calls.save_snapshot)
    delete_snapshot = Endpoint(calls.delete_snapshot)
    roll_back = Endpoint(calls.roll_back)
    export = Endpoint(calls.export_session)
    import_new = Endpoint(calls.import_session)
    import_into = Endpoint(calls.import_into_session)
    generate = Endpoint(calls.generate)
    stream = StreamEndpoint(calls.streamed(calls.generate))
    chat = Endpoint(calls.chat_in_session)
    stream_chat = StreamEndpoint(calls.streamed(calls.chat_in_session))
    cancel = Endpoint(calls.cancel_session)
    delete = Endpoint(calls.delete_session)


class Sessions(SessionEndpoints, SyncResource):
    """`client.sessions`, blocking."""


class AsyncSessions(SessionEndpoints, AsyncResource):
    """`client.sessions`, awaitable."""


class ClientEndpoints:
    """Calls without a session."""

    complete = Endpoint(calls.complete)
    stream = StreamEndpoint(calls.streamed(calls.complete))
    chat = Endpoint(calls.chat)
    stream_chat = StreamEndpoint(calls.streamed(calls.chat))
    models = Endpoint(calls.list_models)
    monitor = StreamEndpoint(calls.monitor)
    admin_sessions = Endpoint(calls.list_admin_sessions)


class PararnnClient(ClientEndpoints, SyncResource):
    """Blocking client of one server. Every failure is a PararnnError.

    base_url: the server's address without the trailing /v1
    api_key: sent as a bearer token
    timeout: seconds without a byte from the server after which a call fails
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: RetryPolicy = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = parse_url(base_url)
        # httpx reads proxies and certificates from the environment when a client is made.
        with preparing(url):
            transport = transport or loopback_transport(httpx.HTTPTransport, url)
            http = httpx.Client(**http_options(url, api_key, timeout), transport=transport)
        super().__init__(SyncTransport(http, retries))
        self.sessions = Sessions(self.transport)

    def __enter__(self) -> PararnnClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.http.close()


class AsyncPararnnClient(ClientEndpoints, AsyncResource):
    """The same client for asyncio: `await` its methods, `async with` and `async for` its streams."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: RetryPolicy = DEFAULT_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = parse_url(base_url)
        with preparing(url):
            transport = transport or loopback_transport(httpx.AsyncHTTPTransport, url)
            http = httpx.AsyncClient(**http_options(url, api_key, timeout), transport=transport)
        super().__init__(AsyncTransport(http, retries))
        self.sessions = AsyncSessions(self.transport)

    async def __aenter__(self) -> AsyncPararnnClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.http.aclose()
