"""Items of one reply of /v1/responses: a message, calls of tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pararnn_server.http.formats.response_events import ResponseEvents
from pararnn_server.http.schemas.response_items import CALL, CallItem, item_id, output_text
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_ids import call_id
from pararnn_server.tools.call_parser import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ParserEvent,
    TextDelta,
)


class ResponseOutput:
    """Makes items of the text of a reply, and their events.

    first_index: of the items among all of the response. call_format: None: there are no calls.
    items: those that have ended.
    """

    def __init__(
        self, events: ResponseEvents, response_id: str, first_index: int, call_format: CallFormat | None
    ) -> None:
        self._events = events
        self._response_id = response_id
        self._first_index = first_index
        self._call_format = call_format
        self._parser = None if call_format is None else CallParser(call_format)
        self._open: dict[str, Any] | None = None
        # Pieces in a list: adding each to one string would copy a long reply again and again.
        self._pieces: list[str] = []
        self.items: list[dict[str, Any]] = []

    def opening(self) -> str:
        """A message, where it is known that the reply is one."""
        return self._begin_message() if self._parser is None else ""

    def feed(self, text: str) -> str:
        """Return the events of the next piece of the reply."""
        if self._parser is None:
            return self._said(text)
        return "".join(self._written(self._parser.feed(text)))

    def end(self, reason: str) -> tuple[str, str]:
        """Return the last events, and the reason for which the reply ended. reason: the engine's."""
        written = ""
        if self._parser is not None:
            written = "".join(self._written(self._parser.end()))
            reason = self._parser.finish_reason(reason)
        if self._open is None and not self.items:
            # A response has an item, also if nothing was said.
            written += self._begin_message()
        return written + self._close("incomplete" if reason == "length" else "completed"), reason

    def _written(self, events: Iterable[ParserEvent]) -> Iterator[str]:
        for event in events:
            if isinstance(event, CallStart):
                yield self._close("completed") + self._begin_call(event.name)
            elif isinstance(event, CallEnd):
                yield self._close("completed")
            elif isinstance(event, ArgumentsDelta | TextDelta):
                yield self._said(event.text)

    def _said(self, text: str) -> str:
        begun = self._begin_message() if self._open is None else ""
        assert self._open is not None
        self._pieces.append(text)
        return begun + self._events.delta(len(self.items), self._open, text)

    def _begin_message(self) -> str:
        name = item_id(self._response_id, self._first_index + len(self.items))
        message = {"id": name, "type": "message", "status": "", "role": "assistant", "content": []}
        return self._begin(message)

    def _begin_call(self, name: str) -> str:
        assert self._call_format is not None
        number = sum(item["type"] == "function_call" for item in self.items)
        call = call_id(self._response_id, 0, number, self._call_format)
        named = item_id(self._response_id, self._first_index + len(self.items), CALL)
        return self._begin(CallItem(named, call, name, "").body())

    def _begin(self, item: dict[str, Any]) -> str:
        self._open = item
        return self._events.item_begins(len(self.items), item)

    def _close(self, status: str) -> str:
        if self._open is None:
            return ""
        text = "".join(self._pieces)
        whole = {"content": [output_text(text)]} if self._open["type"] == "message" else {"arguments": text}
        item = {**self._open, "status": status, **whole}
        written = self._events.item_ends(len(self.items), item)
        self.items.append(item)
        self._open, self._pieces = None, []
        return written
