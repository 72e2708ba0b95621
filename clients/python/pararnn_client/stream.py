"""Decoding of a streamed reply, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from pararnn_client.errors import InvalidReply, StreamFailed
from pararnn_client.sse import DONE, EventDecoder
from pararnn_client.types import Json

T = TypeVar("T")


class EventReader(Generic[T]):
    """A decoder of events, which also checks the end of the stream.

    has_end: the last event is [DONE]; without it the reply is not complete.
    """

    def __init__(self, parse: Callable[[Json], T], *, has_end: bool = True) -> None:
        self._decoder = EventDecoder()
        self._parse = parse
        self._done = not has_end

    def feed(self, piece: bytes) -> list[T]:
        """Return the events that these bytes complete. Raises StreamFailed for an error event.

        Raises InvalidReply for an event that is not JSON.
        """
        events = self._decoder.feed(piece)
        self._done = self._done or DONE in events
        return [self._parse(_event_body(event)) for event in events if event != DONE]

    def end(self) -> None:
        """Check the end; call it after the last byte. Raises StreamFailed if the reply is not complete."""
        if not self._done:
            raise StreamFailed("the connection closed before the reply ended")


def _event_body(event: str) -> Json:
    try:
        body = json.loads(event)
    except ValueError:
        raise InvalidReply(f"an event of the stream is not JSON: {event[:80]!r}") from None
    if not isinstance(body, Mapping):
        raise InvalidReply(f"an event of the stream is not a JSON object: {event[:80]!r}")
    # The status was sent before the reply began, so a later failure arrives as an event.
    error = body.get("error")
    if isinstance(error, Mapping):
        raise StreamFailed(str(error.get("message", "the server failed")), code=error.get("code"))
    return body
