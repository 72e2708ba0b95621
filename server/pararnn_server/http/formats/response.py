"""/v1/responses on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import ServerError
from pararnn_server.http.formats.base import AnswerFormat, Ending, compact
from pararnn_server.http.formats.pieces import Piece
from pararnn_server.http.schemas.response_items import output_text
from pararnn_server.sessions.session import SessionInfo


@dataclass(frozen=True, slots=True)
class Resumed:
    """The point that a response resumes from: ids of the conversation, and how many its state covers."""

    num_tokens: int = 0
    num_covered: int = 0


_FRESH = Resumed()


class ModelResponseFormat(AnswerFormat):
    """One reply. head: the response before it has one.

    Events are numbered, named, and end with the response; there is no [DONE].
    """

    def __init__(self, head: Mapping[str, Any], item_id: str, resumed: Resumed = _FRESH) -> None:
        self._head = head
        self._resumed = resumed
        self._item_id = item_id
        self._text: list[str] = []
        self._reason = ""
        self._number = 0

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """The response, its message and its text, all empty."""
        response = dict(self._head)
        return "".join(
            (
                self._event("response.created", response=response),
                self._event("response.in_progress", response=response),
                self._event("response.output_item.added", output_index=0, item=self._message("in_progress")),
                self._text_event("response.content_part.added", part=output_text("")),
            )
        )

    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Nothing for a piece that shows nothing."""
        if not piece.text:
            return ""
        self._text.append(piece.text)
        return self._text_event("response.output_text.delta", delta=piece.text, logprobs=[])

    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """The text, its part and its message, whole."""
        self._reason = ending.reason
        text = "".join(self._text)
        return "".join(
            (
                self._text_event("response.output_text.done", text=text, logprobs=[]),
                self._text_event("response.content_part.done", part=output_text(text)),
                self._event("response.output_item.done", output_index=0, item=self._message(self._status)),
            )
        )

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """Keep the message, which is a part of the response."""
        self._text = [piece.text for piece in pieces]
        self._reason = ending.reason
        return iter(())

    def whole(
        self, choices: Sequence[Iterator[str]], usage: TokenUsage, session: SessionInfo | None
    ) -> Iterator[str]:
        """The response."""
        yield compact(self.response(usage))

    def last(self, usage: TokenUsage) -> bytes:
        """The response, as the last event."""
        return self.closing(self.response(usage))

    def closing(self, response: Mapping[str, Any]) -> bytes:
        """The last event."""
        return self._event(f"response.{self._status}", response=response).encode()

    def failure(self, error: ServerError) -> bytes:
        """The response with what went wrong, as the last event."""
        failed = {"code": error.code, "message": error.message}
        response = {**self._head, "status": "failed", "error": failed}
        return self._event("response.failed", response=response).encode()

    def response(self, usage: TokenUsage) -> dict[str, Any]:
        """Return the response, once it has ended."""
        incomplete = {"reason": "max_output_tokens"} if self._status == "incomplete" else None
        return {
            **self._head,
            "status": self._status,
            "incomplete_details": incomplete,
            "output": [self._message(self._status)],
            "usage": self._usage(usage),
        }

    @property
    def _status(self) -> str:
        return "incomplete" if self._reason == "length" else "completed"

    def _message(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [output_text("".join(self._text))]
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _usage(self, usage: TokenUsage) -> dict[str, Any]:
        given = self._resumed.num_tokens + usage.prompt_tokens
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": self._resumed.num_covered + usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + usage.completion_tokens,
        }

    def _text_event(self, kind: str, **fields: Any) -> str:
        return self._event(kind, item_id=self._item_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> str:
        data = compact({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return f"event: {kind}\ndata: {data}\n\n"


def replay(body: Mapping[str, Any]) -> bytes:
    """The stream that ends with this response, its text in one piece."""
    # Every stored response has exactly one message.
    [message] = body["output"]
    head = {**body, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    form = ModelResponseFormat(head, message["id"])
    text = "".join(part["text"] for part in message["content"])
    # Only whether it was the length shows in the events.
    ending = Ending("length" if body["status"] == "incomplete" else "stop")
    events = form.opening(0, None) + form.piece(0, Piece(text, None), None) + form.end(0, ending, None)
    return events.encode() + form.closing(body)
