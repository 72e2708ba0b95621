"""Query parameters: those that a route does not know are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from pararnn_server.errors import BadRequest


class StrictRoute(APIRoute):
    """A route that refuses query parameters that it does not declare."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that raises BadRequest before anything else of the request is looked at."""
        handle = super().get_route_handler()
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def strict(request: Request) -> Response:
            # Almost no request has a query, and parsing one takes time.
            if request.scope["query_string"]:
                check_query(request, known)
            return await handle(request)

        return strict


def check_query(request: Request, known: list[str]) -> None:
    """Raise BadRequest for the first parameter that is not known."""
    for name in request.query_params:
        if name not in known:
            choices = f"this route takes {', '.join(known)}" if known else "this route takes none"
            message = f"Unknown query parameter {name[:200]!r}: {choices}."
            raise BadRequest(message, param=name[:200], code="unknown_parameter")
