"""Decoding of server-sent events from bytes in pieces of any size."""

from __future__ import annotations

DONE = "[DONE]"


class EventDecoder:
    """A decoder of events. It drops comments (`: ping`) and all fields except data."""

    def __init__(self) -> None:
        self._partial = b""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[str]:
        """Return the data of each event that these bytes complete. They may be cut anywhere."""
        # Lines are split as bytes, because a piece may end within a UTF-8 character.
        *lines, self._partial = (self._partial + piece).split(b"\n")
        events = (self._take_line(line.removesuffix(b"\r").decode("utf-8")) for line in lines)
        return [event for event in events if event is not None]

    def _take_line(self, line: str) -> str | None:
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        # Only an empty line ends an event, and one after a comment ends nothing.
        if line or not self._data:
            return None
        event, self._data = "\n".join(self._data), []
        return event
