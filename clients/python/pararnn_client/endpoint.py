"""Descriptors that turn a function that builds a Call into a method that sends it.

The method blocks or is awaitable, as its client. So each method of the API is written once (in `calls`), with
one signature and one docstring for both clients.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pararnn_client.async_transport import AsyncResource, AsyncStream
from pararnn_client.calls import Call
from pararnn_client.sync_transport import Stream, SyncResource

P = ParamSpec("P")
T = TypeVar("T")


class Endpoint(Generic[P, T]):
    """Descriptor of a method that returns the call's result, or an awaitable of it."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, resource: SyncResource, owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(self, resource: AsyncResource, owner: type) -> Callable[P, Awaitable[T]]: ...

    def __get__(self, resource: SyncResource | AsyncResource, owner: type) -> Callable[P, Any]:
        build, send = self._build, resource.transport.send

        @functools.wraps(build)
        def method(*args: P.args, **kwargs: P.kwargs) -> T | Awaitable[T]:
            return send(build(*args, **kwargs))

        return method


class StreamEndpoint(Generic[P, T]):
    """Descriptor of a method that returns a Stream or AsyncStream. Entering it sends the call."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, resource: SyncResource, owner: type) -> Callable[P, Stream[T]]: ...

    @overload
    def __get__(self, resource: AsyncResource, owner: type) -> Callable[P, AsyncStream[T]]: ...

    def __get__(self, resource: SyncResource | AsyncResource, owner: type) -> Callable[P, Any]:
        build = self._build

        @functools.wraps(build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Stream[T] | AsyncStream[T]:
            call = build(*args, **kwargs)
            if isinstance(resource, SyncResource):
                return Stream(resource.transport, call)
            return AsyncStream(resource.transport, call)

        return method
