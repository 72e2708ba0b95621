"""/health and /ready."""

from __future__ import annotations

from typing import Literal

from pararnn_server.http.schemas.base import ResponseBody


class Health(ResponseBody):
    """The process answers; it may still be loading."""

    status: Literal["ok"]


class Ready(ResponseBody):
    """New work is taken."""

    status: Literal["ready"]
