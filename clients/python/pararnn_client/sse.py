"""Server-sent events: bytes in any pieces -> the data of whole events."""

from __future__ import annotations

DONE = "[DONE]"


class EventDecoder:
    """Feed bytes as they come; whole events come out. Comments (`: ping`) and other fields are dropped."""

    def __init__(self) -> None:
        self._partial = b""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[str]:
        """piece: any number of bytes, cut anywhere -> the data of each event completed by it."""
        *lines, self._partial = (self._partial + piece).split(b"\n")
        events = (self._take_line(line.removesuffix(b"\r").decode("utf-8")) for line in lines)
        return [event for event in events if event is not None]

    def _take_line(self, line: str) -> str | None:
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        if line or not self._data:
            return None
        event, self._data = "\n".join(self._data), []
        return event
