"""Python client of pararnn-server: completions, and sessions whose memory does not grow."""

from pararnn_client.client import AsyncPararnnClient, AsyncSessions, PararnnClient, Sessions
from pararnn_client.errors import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    Expired,
    InvalidReply,
    NotFound,
    PararnnError,
    ServerFailed,
    StatusError,
    StreamFailed,
    TooManyRequests,
    Unauthorized,
)
from pararnn_client.monitor_view import MonitorView
from pararnn_client.retries import RetryPolicy
from pararnn_client.types import Chunk, Completion, MonitorEvent, Session, SessionList, Usage

__all__ = [
    "AsyncPararnnClient",
    "AsyncSessions",
    "BadRequest",
    "Chunk",
    "Completion",
    "Conflict",
    "ConnectionFailed",
    "Expired",
    "InvalidReply",
    "MonitorEvent",
    "MonitorView",
    "NotFound",
    "PararnnClient",
    "PararnnError",
    "RetryPolicy",
    "ServerFailed",
    "Session",
    "SessionList",
    "Sessions",
    "StatusError",
    "StreamFailed",
    "TooManyRequests",
    "Unauthorized",
    "Usage",
]
