"""The one body of every error."""

from __future__ import annotations

from pararnn_server.http.schemas.base import ResponseBody


class ErrorDetail(ResponseBody):
    """param names the field at fault, dotted for nested ones, or is null."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(ResponseBody):
    """Every answer that is no success."""

    error: ErrorDetail
