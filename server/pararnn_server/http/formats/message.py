"""/v1/messages on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pararnn_server.engine.request import TokenUsage
from pararnn_server.errors import ServerError
from pararnn_server.http.formats.base import AnswerFormat, Ending, Heading, compact, quoted, session_stamp
from pararnn_server.http.formats.message_content import (
    BlockDelta,
    BlockEvent,
    BlockStart,
    MessageContent,
    whole_blocks,
)
from pararnn_server.http.formats.message_error import message_error
from pararnn_server.http.formats.pieces import Piece
from pararnn_server.sessions.session import SessionInfo
from pararnn_server.tools.call_format import CallFormat

_PING: Final = 'event: ping\ndata: {"type":"ping"}\n\n'
_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessageFormat(AnswerFormat):
    """One reply, in blocks. request_id: for an error in the stream. collects: see `replies`.

    call_format: of the calls in the reply; None: there are none.
    """

    ping = _PING.encode()

    def __init__(
        self,
        heading: Heading,
        request_id: str,
        *,
        collects: bool = False,
        call_format: CallFormat | None = None,
    ) -> None:
        self._heading = heading
        self._request_id = request_id
        self._collects = collects
        self.replies: dict[int, str] = {}
        # Pieces in a list: adding each to one string would copy a long reply again and again.
        self._said: list[str] = []
        self._content = MessageContent(call_format, heading.id)
        self._ending: Ending | None = None

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """The message without its content."""
        message = self._message([], None, usage or TokenUsage(0, 0))
        return _event("message_start", message=message)

    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Nothing for a piece that shows nothing: a reply without text has no block."""
        if not piece.text:
            return ""
        if self._collects:
            self._said.append(piece.text)
        return _written(self._content.feed(piece.text))

    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """The end of the last block and the reason, with the counts as they are now."""
        self._keep(index, "".join(self._said))
        blocks = _written(self._content.end())
        session = {} if ending.session is None else {"session": session_stamp(ending.session)}
        counts = self._usage(usage or TokenUsage(0, 0))
        return blocks + _event("message_delta", delta=self._stop(ending), usage=counts, **session)

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """Keep the ending, which is a part of the message, and return the text."""
        text = "".join(piece.text for piece in pieces)
        self._keep(index, text)
        self._ending = ending
        return iter((text,))

    def whole(
        self, choices: Sequence[Iterator[str]], usage: TokenUsage, session: SessionInfo | None
    ) -> Iterator[str]:
        """The message."""
        text = "".join(choices[0])
        events = self._content.feed(text) if text else ()
        # The reason follows from the content, so that comes first.
        content = whole_blocks((*events, *self._content.end()))
        message = self._message(content, self._ending, usage)
        if session is not None:
            message["session"] = session_stamp(session)
        yield compact(message)

    def last(self, usage: TokenUsage) -> bytes:
        """The event that nothing follows."""
        return _event("message_stop").encode()

    def failure(self, error: ServerError) -> bytes:
        """The error, as the last event."""
        return _event(**message_error(error, self._request_id)).encode()

    def _keep(self, index: int, text: str) -> None:
        if self._collects:
            self.replies[index] = text

    def _message(
        self, content: list[dict[str, Any]], ending: Ending | None, usage: TokenUsage
    ) -> dict[str, Any]:
        return {
            "id": self._heading.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._heading.model,
            **self._stop(ending),
            "usage": self._usage(usage),
        }

    def _stop(self, ending: Ending | None) -> dict[str, str | None]:
        if ending is None:
            return {"stop_reason": None, "stop_sequence": None}
        if isinstance(ending.stop_reason, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": ending.stop_reason}
        reason = self._content.finish_reason(ending.reason)
        return {"stop_reason": _STOP_REASONS.get(reason, reason), "stop_sequence": None}

    def _usage(self, usage: TokenUsage) -> dict[str, int]:
        """Return the fields of the schema `MessageUsage`. The counts of input exclude each other."""
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.written_tokens,
            "cache_creation_input_tokens": usage.written_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
        }


def _written(events: Iterable[BlockEvent]) -> str:
    return "".join(map(_block_event, events))


def _block_event(event: BlockEvent) -> str:
    if isinstance(event, BlockDelta):
        kind, name = ("input_json_delta", "partial_json") if event.is_input else ("text_delta", "text")
        # Written by hand: there is one for every token.
        delta = f'{{"type":"{kind}","{name}":{quoted(event.text)}}}'
        data = f'{{"type":"content_block_delta","index":{event.index},"delta":{delta}}}'
        return f"event: content_block_delta\ndata: {data}\n\n"
    if isinstance(event, BlockStart):
        began = _event("content_block_start", index=event.index, content_block=event.block)
        return began if event.index else began + _PING
    return _event("content_block_stop", index=event.index)


def _event(type: str, **fields: Any) -> str:
    return f"event: {type}\ndata: {compact({'type': type, **fields})}\n\n"
