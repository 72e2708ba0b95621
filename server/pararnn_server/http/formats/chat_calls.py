"""Calls of tools in one reply of a chat, on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pararnn_server.http.formats.base import compact, quoted
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_ids import call_id
from pararnn_server.tools.call_parser import (
    ArgumentsDelta,
    CallParser,
    CallStart,
    ParserEvent,
    TextDelta,
    collected,
)


class ChatCalls:
    """One reply. answer_id: the ids of its calls follow from it and the index of the choice."""

    def __init__(self, form: CallFormat, answer_id: str, index: int) -> None:
        self._form = form
        self._answer_id = answer_id
        self._index = index
        self._parser = CallParser(form)
        self.finish_reason = self._parser.finish_reason
        self._number = -1

    def deltas(self, text: str) -> list[str]:
        """Return the members of each delta that the next piece of the text adds."""
        return list(self._members(self._parser.feed(text)))

    def last_deltas(self) -> list[str]:
        """Return the members of each delta of what was held back."""
        return list(self._members(self._parser.end()))

    def message(self, text: str) -> str:
        """Return the message of a whole reply."""
        reply = collected((*self._parser.feed(text), *self._parser.end()))
        content = quoted(reply.content) if reply.content else "null"
        calls = ",".join(self._call(i, *call) for i, call in enumerate(reply.calls))
        tail = f',"tool_calls":[{calls}]' if calls else ""
        return f'{{"role":"assistant","content":{content},"refusal":null{tail}}}'

    def _members(self, events: Iterable[ParserEvent]) -> Iterator[str]:
        for event in events:
            if isinstance(event, TextDelta):
                yield f'"content":{quoted(event.text)}'
            elif isinstance(event, CallStart):
                self._number += 1
                first = self._call(self._number, event.name, "")
                yield f'"tool_calls":[{{"index":{self._number},{first[1:]}]'
            elif isinstance(event, ArgumentsDelta):
                function = f'{{"arguments":{quoted(event.text)}}}'
                yield f'"tool_calls":[{{"index":{self._number},"function":{function}}}]'

    def _call(self, number: int, name: str, arguments: str) -> str:
        return compact(
            {
                "id": call_id(self._answer_id, self._index, number, self._form),
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )
