"""Bounds of connections, as the settings have them."""

from __future__ import annotations

from dataclasses import dataclass

from pararnn_server.settings.server_settings import Settings


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection.

    max_head_bytes, max_headers: of the URL and headers of a request, which must come within head_seconds.
    idle_seconds: between two requests. body_seconds: in which a body must progress. stalled_seconds: in which
        a client must take some of the bytes that wait for it.
    """

    max_head_bytes: int
    max_headers: int
    head_seconds: float
    idle_seconds: float
    body_seconds: float
    stalled_seconds: float


def limits_of(settings: Settings) -> ConnectionLimits:
    """Bounds of every connection of a server."""
    return ConnectionLimits(
        max_head_bytes=settings.max_head_bytes,
        max_headers=settings.max_headers,
        head_seconds=settings.head_timeout_seconds,
        idle_seconds=settings.keep_alive_seconds,
        body_seconds=settings.body_timeout_seconds,
        stalled_seconds=settings.stream_max_lag_seconds,
    )
