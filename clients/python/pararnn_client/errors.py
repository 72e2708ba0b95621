"""The errors of this package, one tree under `PararnnError`."""

from __future__ import annotations


class PararnnError(Exception):
    """Base of every error that this package raises on purpose."""


class ConnectionFailed(PararnnError):
    """The server was not reached, or its answer was lost.

    request_sent: False if the request certainly did not arrive, so that repeating it is safe
    """

    def __init__(self, message: str, *, request_sent: bool) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class InvalidReply(PararnnError):
    """The answer is not that of a pararnn-server. Check the address."""


class StreamFailed(PararnnError):
    """A stream ended before its reply. The session is at its last committed turn."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class StatusError(PararnnError):
    """The server refused or failed. It has the HTTP status and the fields of the error body.

    retry_after: seconds to wait as the server's header says, None without that header
    should_retry: value of the header `x-should-retry`, None without it
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry = should_retry


class BadRequest(StatusError):
    """400, 405, 413, 415: the request itself is wrong; `param` names the field."""


class Unauthorized(StatusError):
    """401: no key, or an unknown one."""


class NotFound(StatusError):
    """404: it does not exist, or belongs to another key."""


class Conflict(StatusError):
    """409: the session is busy, or is at another turn than expected."""


class Expired(StatusError):
    """410: the session has expired."""


class TooManyRequests(StatusError):
    """429: the queue or a quota is full; `retry_after` has the seconds to wait."""


class ServerFailed(StatusError):
    """500 and above: the server failed, is loading, or is draining."""


_BY_STATUS: dict[int, type[StatusError]] = {
    401: Unauthorized,
    404: NotFound,
    409: Conflict,
    410: Expired,
    429: TooManyRequests,
}


def status_error_class(status: int) -> type[StatusError]:
    """Return the error class of an HTTP status of 400 or above."""
    if status >= 500:
        return ServerFailed
    return _BY_STATUS.get(status, BadRequest)
