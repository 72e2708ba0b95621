"""/v1/responses on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import ServerError
from pararnn_server.http.formats.base import AnswerFormat, Ending, compact
from pararnn_server.http.formats.pieces import Piece
from pararnn_server.http.formats.response_events import ResponseEvents
from pararnn_server.http.formats.response_output import ResponseOutput
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.tools.call_format import CallFormat


@dataclass(frozen=True, slots=True)
class Resumed:
    """The point that a response resumes from: ids of the conversation, and how many its state covers."""

    num_tokens: int = 0
    num_covered: int = 0


_FRESH = Resumed()


class ModelResponseFormat(AnswerFormat):
    """One reply. head: the response before it has one.

    num_given: items of the input. call_format: of the calls in the reply; None: there are none.
    Events are numbered, named, and end with the response; there is no [DONE].
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        num_given: int,
        resumed: Resumed = _FRESH,
        call_format: CallFormat | None = None,
    ) -> None:
        self._head = head
        self._resumed = resumed
        self._events = ResponseEvents()
        self._output = ResponseOutput(self._events, head["id"], num_given, call_format)
        self._reason = ""
        self._compaction: Mapping[str, Any] | None = None

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """The response, its message and its text, all empty."""
        return self._events.opening(self._head) + self._output.opening()

    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Nothing for a piece that shows nothing."""
        return self._output.feed(piece.text) if piece.text else ""

    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """The last item, whole."""
        written, self._reason = self._output.end(ending.reason)
        return written

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """Keep the items, which are a part of the response."""
        self._output.opening()
        if text := "".join(piece.text for piece in pieces):
            self._output.feed(text)
        _, self._reason = self._output.end(ending.reason)
        return iter(())

    def whole(
        self, choices: Sequence[Iterator[str]], usage: TokenUsage, session: SessionInfo | None
    ) -> Iterator[str]:
        """The response."""
        yield compact(self.response(usage))

    def last(self, usage: TokenUsage) -> bytes:
        """The compaction item, if there is one, and the response, as the last events."""
        written = b""
        if self._compaction is not None:
            written = self._events.compaction(len(self._output.items), self._compaction).encode()
        return written + self.closing(self.response(usage))

    def end_with_compaction(self, item: Mapping[str, Any]) -> None:
        """Add the state at the end as the last item."""
        self._compaction = item

    def closing(self, response: Mapping[str, Any]) -> bytes:
        """The last event."""
        return self._events.event(f"response.{self._status}", response=response).encode()

    def failure(self, error: ServerError) -> bytes:
        """The response with what went wrong, as the last event."""
        failed = {"code": error.code, "message": error.message}
        response = {**self._head, "status": "failed", "error": failed}
        return self._events.event("response.failed", response=response).encode()

    def response(self, usage: TokenUsage) -> dict[str, Any]:
        """Return the response, once it has ended."""
        incomplete = {"reason": "max_output_tokens"} if self._status == "incomplete" else None
        return {
            **self._head,
            "status": self._status,
            "incomplete_details": incomplete,
            "output": [*self._output.items, *([self._compaction] if self._compaction else ())],
            "usage": usage_of(self._resumed, usage),
        }

    @property
    def _status(self) -> str:
        return "incomplete" if self._reason == "length" else "completed"


def usage_of(resumed: Resumed, usage: TokenUsage) -> dict[str, Any]:
    """Return the usage of a request with that of the conversation which it resumes."""
    given = resumed.num_tokens + usage.prompt_tokens
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": resumed.num_covered + usage.cached_tokens,
            "cache_write_tokens": usage.written_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + usage.completion_tokens,
    }


def replay(body: Mapping[str, Any]) -> bytes:
    """The stream that ends with this response, the text of each item in one piece."""
    events = ResponseEvents()
    head = {**body, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    written = [events.opening(head)]
    for index, item in enumerate(body["output"]):
        if item["type"] == "compaction":
            written.append(events.compaction(index, item))
            continue
        written.append(events.item_begins(index, item))
        text = item.get("arguments") or "".join(part["text"] for part in item.get("content", ()))
        if text:
            written.append(events.delta(index, item, text))
        written.append(events.item_ends(index, item))
    written.append(events.event(f"response.{body['status']}", response=body))
    return "".join(written).encode()
