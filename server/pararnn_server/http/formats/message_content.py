"""The content of a message on the wire: blocks of text and of calls, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.call_ids import call_id
from pararnn_server.tools.call_parser import (
    ArgumentsDelta,
    CallParser,
    CallStart,
    ParserEvent,
    TextDelta,
)


@dataclass(frozen=True, slots=True)
class BlockStart:
    """A block begins, as it is while nothing of it has come."""

    index: int
    block: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BlockDelta:
    """The next piece of the block that began last: of its text, or of the JSON of its input."""

    index: int
    text: str
    is_input: bool


@dataclass(frozen=True, slots=True)
class BlockStop:
    """The block that began last is whole."""

    index: int


BlockEvent = BlockStart | BlockDelta | BlockStop


class MessageContent:
    """Blocks of one reply. call_format: of the calls in it; None: there are none.

    answer_id: the ids of the calls follow from it.
    """

    def __init__(self, call_format: CallFormat | None, answer_id: str) -> None:
        self._form = call_format
        self._parser = None if call_format is None else CallParser(call_format)
        self._answer_id = answer_id
        self._num_calls = 0
        self._index = -1
        self._open = ""

    def feed(self, text: str) -> Iterator[BlockEvent]:
        """Take the next piece of the reply's text."""
        events = [TextDelta(text)] if self._parser is None else self._parser.feed(text)
        return self._blocks(events)

    def end(self) -> Iterator[BlockEvent]:
        """Return the events of what was held back, and the end of the last block."""
        if self._parser is not None:
            yield from self._blocks(self._parser.end())
        yield from self._stop()

    def finish_reason(self, reason: str) -> str:
        """Return the reason for which the reply ended, given the engine's."""
        return reason if self._parser is None else self._parser.finish_reason(reason)

    def _blocks(self, events: Iterable[ParserEvent]) -> Iterator[BlockEvent]:
        for event in events:
            if isinstance(event, TextDelta):
                if self._open != "text":
                    yield from self._start({"type": "text", "text": ""})
                yield BlockDelta(self._index, event.text, is_input=False)
            elif isinstance(event, CallStart):
                yield from self._start(
                    {"type": "tool_use", "id": self._next_call_id(), "name": event.name, "input": {}}
                )
            elif isinstance(event, ArgumentsDelta):
                yield BlockDelta(self._index, event.text, is_input=True)
            else:
                yield from self._stop()

    def _start(self, block: dict[str, Any]) -> Iterator[BlockEvent]:
        yield from self._stop()
        self._index += 1
        self._open = block["type"]
        yield BlockStart(self._index, block)

    def _stop(self) -> Iterator[BlockEvent]:
        if self._open:
            self._open = ""
            yield BlockStop(self._index)

    def _next_call_id(self) -> str:
        assert self._form is not None
        self._num_calls += 1
        return call_id(self._answer_id, 0, self._num_calls - 1, self._form)


def whole_blocks(events: Iterable[BlockEvent]) -> list[dict[str, Any]]:
    """Return the blocks that all events of a reply make together."""
    blocks: list[dict[str, Any]] = []
    pieces: list[str] = []
    for event in events:
        if isinstance(event, BlockStart):
            pieces = []
            blocks.append(event.block)
        elif isinstance(event, BlockDelta):
            pieces.append(event.text)
        elif blocks[-1]["type"] == "text":
            blocks[-1]["text"] = "".join(pieces)
        else:
            # Of arguments that were cut, what a client of the stream reads in them.
            blocks[-1]["input"] = from_json("".join(pieces) or "{}", allow_partial=True)
    return blocks
