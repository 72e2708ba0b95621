"""A reply with calls of tools to events, as its text comes.

The events of a text do not depend on how it was cut, once neighbouring deltas are joined. Arguments are as
the model wrote them. The grammar keeps replies in their format; whatever is in no format is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.json_object import ObjectScanner

# Space before a call is left out. A model that writes only spaces must not make them pile up.
_MOST_SPACE = 64
_NAME = re.compile(r"[a-zA-Z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text beside calls."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The name of the next call."""

    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """The next piece of the arguments of the last call that started."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The last call that started is whole."""


ParserEvent: TypeAlias = TextDelta | CallStart | ArgumentsDelta | CallEnd


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A whole reply. calls: names and arguments, as text; of the last one perhaps only a part."""

    content: str
    calls: Sequence[tuple[str, str]]


def parsed(form: CallFormat, text: str) -> ParsedReply:
    """Return the content and the calls of a reply."""
    parser = CallParser(form)
    return collected((*parser.feed(text), *parser.end()))


def collected(events: Iterable[ParserEvent]) -> ParsedReply:
    """Return the content and the calls of all events of a reply."""
    content: list[str] = []
    calls: list[tuple[str, list[str]]] = []
    for event in events:
        if isinstance(event, TextDelta):
            content.append(event.text)
        elif isinstance(event, CallStart):
            calls.append((event.name, []))
        elif isinstance(event, ArgumentsDelta):
            calls[-1][1].append(event.text)
    return ParsedReply("".join(content), [(name, "".join(pieces)) for name, pieces in calls])


class CallParser:
    """Takes the text of one reply, piece by piece.

    num_calls: calls that have started.
    """

    def __init__(self, form: CallFormat) -> None:
        self._form = form
        self._held = ""
        self._scanner = ObjectScanner()
        self._is_waiting = False
        # A format without a mark begins with the call or has none.
        self._step: Callable[[], Iterator[ParserEvent]] = self._text if form.mark else self._opening
        self.num_calls = 0

    @property
    def is_in_call(self) -> bool:
        """True if a call has begun and is not whole."""
        if self._step in (self._opening, self._between):
            return bool(self._held.strip())
        return self._step in (self._name, self._arguments, self._tail)

    def finish_reason(self, reason: str) -> str:
        """Return the reason for which the reply ended, given the engine's. A cut call is a length."""
        if reason != "stop" or not (self.is_in_call or self.num_calls):
            return reason
        return "length" if self.is_in_call else "tool_calls"

    def feed(self, text: str) -> list[ParserEvent]:
        """Take the next piece."""
        self._held += text
        self._is_waiting = False
        events: list[ParserEvent] = []
        while self._held and not self._is_waiting:
            events += self._step()
        return events

    def end(self) -> list[ParserEvent]:
        """Return the text that was held back. The beginning of a call without its name is left out."""
        return [TextDelta(self._held)] if self._step == self._text and self._held else []

    def _text(self) -> Iterator[ParserEvent]:
        before, mark, after = self._held.partition(self._form.mark)
        if not mark:
            before = before[: len(before) - _overlap(before, self._form.mark)]
        # Whether this space belongs to the text is known when the next character comes.
        shown = before[: max(len(before.rstrip()), len(before) - _MOST_SPACE)]
        if shown:
            yield TextDelta(shown)
        if mark:
            self._held, self._step = mark + after, self._opening
        else:
            self._held, self._is_waiting = self._held[len(shown) :], True

    def _rest(self) -> Iterator[ParserEvent]:
        yield TextDelta(self._held)
        self._held = ""

    def _opening(self) -> Iterator[ParserEvent]:
        opening = self._form.opening
        if self._held.startswith(opening):
            self._held, self._step = self._held[len(opening) :], self._name
        else:
            self._wait_for(opening)
        yield from ()

    def _name(self) -> Iterator[ParserEvent]:
        found = _NAME.match(self._held)
        assert found is not None
        # Arguments are an object in every format.
        middle = self._form.middle
        if self._held.startswith(middle + "{", found.end()):
            yield CallStart(found[0])
            self.num_calls += 1
            self._held = self._held[found.end() + len(middle) :]
            self._scanner, self._step = ObjectScanner(), self._arguments
        elif found.end() < len(self._held):
            self._wait_for(found[0] + middle + "{", self._form.opening)
        else:
            self._is_waiting = True

    def _arguments(self) -> Iterator[ParserEvent]:
        size = self._scanner.feed(self._held)
        yield ArgumentsDelta(self._held[:size])
        self._held = self._held[size:]
        if self._scanner.is_whole:
            self._step = self._tail
            # An empty tail is there already.
            yield from self._tail()

    def _tail(self) -> Iterator[ParserEvent]:
        if self._held.startswith(self._form.tail):
            self._held, self._step = self._held[len(self._form.tail) :], self._between
            yield CallEnd()
        else:
            self._wait_for(self._form.tail)

    def _between(self) -> Iterator[ParserEvent]:
        form = self._form
        another = None if form.separator is None else form.separator + form.head
        if another is not None and self._held.startswith(another):
            self._held, self._step = self._held[len(another) :], self._name
        elif form.suffix and self._held.startswith(form.suffix):
            self._held, self._step = self._held[len(form.suffix) :], self._rest
        else:
            self._wait_for(another or form.suffix, others=(form.suffix,))
        yield from ()

    def _wait_for(self, wanted: str, before: str = "", others: Sequence[str] = ()) -> None:
        """Wait if the wanted text may still come, else read all, from `before` on, as text."""
        self._is_waiting = any(each.startswith(self._held) for each in (wanted, *others))
        if not self._is_waiting:
            self._held, self._step = before + self._held, self._rest


def _overlap(text: str, mark: str) -> int:
    """Return the length of the longest end of the text with which the mark may begin."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
