"""Errors that a client can see: one tree, one body, one status each."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import ClassVar


class ServerError(Exception):
    """An answer other than success.

    param: name of the request field at fault, dotted for nested fields ("messages.0.role"), or None.
    code: a stable word a program can compare; each class has a default.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    default_headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.headers: dict[str, str] = {**self.default_headers, **(headers or {})}

    def body(self) -> dict[str, dict[str, str | None]]:
        """JSON object a client reads, the same for every status."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


class BadRequest(ServerError):
    """A field is missing, unknown, of the wrong type or out of range; `param` names it."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"


class Unauthorized(ServerError):
    """Keys are in use and the request carries none that fits."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"
    default_headers: ClassVar[Mapping[str, str]] = {"www-authenticate": "Bearer"}


class Forbidden(ServerError):
    """A browser's page that the settings do not let in."""

    status = 403
    type = "permission_error"
    default_code = "origin_not_allowed"


class NotFound(ServerError):
    """An error for an absent route, model or session. Foreign sessions look the same as absent ones."""

    status = 404
    type = "not_found_error"
    default_code = "not_found"


class MethodNotAllowed(ServerError):
    """The path exists; the `allow` header says which methods do."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class TooSlow(ServerError):
    """The head or the body of the request did not come in time."""

    status = 408
    type = "timeout_error"
    default_code = "request_too_slow"


class Conflict(ServerError):
    """A session that is busy, or a turn that is not the expected one; a blind retry would not help."""

    status = 409
    type = "conflict_error"
    default_code = "session_busy"
    default_headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}


class Expired(ServerError):
    """The session was yours and its time has passed."""

    status = 410
    type = "not_found_error"
    default_code = "session_expired"


class TooLarge(ServerError):
    """The body passed the limit while it was read."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class UnsupportedMedia(ServerError):
    """The body is not JSON by its content type, or is encoded."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class TooManyRequests(ServerError):
    """retry_after: seconds, rounded up to a whole number for the header."""

    status = 429
    type = "rate_limit_error"
    default_code = "queue_full"

    def __init__(
        self, message: str, *, retry_after: float = 1.0, param: str | None = None, code: str | None = None
    ) -> None:
        headers = {"retry-after": str(max(1, ceil(retry_after)))}
        super().__init__(message, param=param, code=code, headers=headers)
        self.retry_after = retry_after


class HeadTooLarge(ServerError):
    """The URL and headers of the request are too long or too many."""

    status = 431
    type = "invalid_request_error"
    default_code = "head_too_large"


class ClientClosed(ServerError):
    """The client left before its answer; logged, never read by anyone."""

    status = 499
    type = "invalid_request_error"
    default_code = "client_closed_request"


class Internal(ServerError):
    """Ours to fix; the log has the traceback under the same request id."""

    default_headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}


class StoreFailed(ServerError):
    """The session store is full, corrupt or out of reach; `code` says which. The turn is undone."""

    default_code = "store_failed"
    default_headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}


class Unavailable(ServerError):
    """Loading or draining; `code` says which."""

    status = 503
    default_code = "unavailable"
    default_headers: ClassVar[Mapping[str, str]] = {"retry-after": "5"}


class Timeout(ServerError):
    """The request outlived its timeout; nothing of it was kept."""

    status = 504
    type = "timeout_error"
    default_code = "request_timeout"
    default_headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}
