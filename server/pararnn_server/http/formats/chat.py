"""/v1/chat/completions on the wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pararnn_server.engine.request import TokenUsage
from pararnn_server.http.formats.base import ChunkFormat, Ending, Heading, compact, quoted
from pararnn_server.http.formats.chat_calls import ChatCalls
from pararnn_server.http.formats.json_parts import json_list
from pararnn_server.http.formats.pieces import Piece, TokenEntry
from pararnn_server.text.tokenizer import Tokenizer
from pararnn_server.tools.call_format import CallFormat


class ChatFormat(ChunkFormat):
    """logprobs: whether they were asked for.

    collects: whether the text of each reply is kept, as it ends, in `replies`, by the choice's index.
    call_format: of the calls in replies; None: they have none.
    """

    body_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    has_one_prompt = True

    def __init__(
        self,
        heading: Heading,
        tokenizer: Tokenizer,
        *,
        logprobs: bool,
        null_usage: bool = False,
        collects: bool = False,
        call_format: CallFormat | None = None,
    ) -> None:
        super().__init__(heading, null_usage=null_usage)
        self._tokenizer = tokenizer
        self._asked = logprobs
        self._collects = collects
        self.replies: dict[int, str] = {}
        # Pieces in a list: adding each to one string would copy a long reply again and again.
        self._said: defaultdict[int, list[str]] = defaultdict(list)
        self._call_format = call_format
        self._calls: dict[int, ChatCalls] = {}

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """The role, once and first."""
        # Null where calls may come: a reply that only calls has no content.
        content = '""' if self._call_format is None else "null"
        delta = f'{{"role":"assistant","content":{content}}}'
        choice = f'{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":null}}'
        return self.chunk(choice, usage, about="" if index else "".join(self.report.prompt(0)))

    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Nothing for a piece that shows nothing."""
        if not piece.text and not piece.entries and usage is None and not self.report.shows(piece):
            return ""
        if self._collects:
            self._said[index].append(piece.text)
        ids = self.report.reply_ids(piece.token_ids)
        if self._call_format is None:
            return self._delta(index, f'"content":{quoted(piece.text)}', usage, piece, ids)
        deltas = self._calls_of(index, self._call_format).deltas(piece.text)
        if not deltas and (piece.entries or ids or usage is not None):
            # The text is held back, but what is known about its tokens is not.
            deltas = [""]
        first = "".join(self._delta(index, delta, usage, piece, ids) for delta in deltas[:1])
        return first + "".join(self._delta(index, delta, usage) for delta in deltas[1:])

    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """An empty delta with the reason."""
        if self._collects:
            self.replies[index] = "".join(self._said.pop(index, ()))
        rest = ""
        if self._call_format is not None:
            calls = self._calls_of(index, self._call_format)
            rest = "".join(self._delta(index, delta, usage) for delta in calls.last_deltas())
            ending = replace(ending, reason=calls.finish_reason(ending.reason))
        ids = self.report.reply_ids(ending.token_ids)
        choice = f'{{"index":{index},"delta":{{}},"logprobs":null,{ending.fields}{ids}}}'
        return rest + self.chunk(choice, usage, ending.session)

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """Message and log-probabilities of all pieces."""
        content = "".join(piece.text for piece in pieces)
        if self._collects:
            self.replies[index] = content
        return self._choice(index, content, pieces, ending)

    def _delta(
        self, index: int, delta: str, usage: TokenUsage | None, piece: Piece | None = None, ids: str = ""
    ) -> str:
        """A chunk with the members of a delta. piece: its log-probabilities come too."""
        logprobs = compact(self._logprobs(piece.entries)) if piece and piece.entries else "null"
        head = f'{{"index":{index},"delta":{{{delta}}}'
        return self.chunk(f'{head},"logprobs":{logprobs},"finish_reason":null{ids}}}', usage)

    def _calls_of(self, index: int, form: CallFormat) -> ChatCalls:
        if index not in self._calls:
            self._calls[index] = ChatCalls(form, self._heading.id, index)
        return self._calls[index]

    def _choice(self, index: int, content: str, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        message = f'{{"role":"assistant","content":{quoted(content)},"refusal":null}}'
        if self._call_format is not None:
            calls = self._calls_of(index, self._call_format)
            message = calls.message(content)
            ending = replace(ending, reason=calls.finish_reason(ending.reason))
        yield f'{{"index":{index},"message":{message},"logprobs":'
        if self._asked:
            yield '{"content":'
            yield from json_list(self._entry(entry) for piece in pieces for entry in piece.entries or ())
            yield ',"refusal":null}'
        else:
            yield "null"
        yield f",{ending.fields}"
        yield from self.report.whole_reply(pieces, ending.token_ids)
        yield "}"

    def _logprobs(self, entries: Sequence[TokenEntry]) -> dict[str, Any]:
        return {"content": [self._entry(entry) for entry in entries], "refusal": None}

    def _entry(self, entry: TokenEntry) -> dict[str, Any]:
        named = self._named(entry.token_id, entry.logprob)
        return named | {"top_logprobs": [self._named(token, logprob) for token, logprob in entry.top]}

    def _named(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        raw = self._tokenizer.shown(token_id)
        name = self.report.name(token_id) if self.report.names_ids else raw.decode("utf-8", "replace")
        # A token may be part of a character: clients join the bytes.
        return {"token": name, "logprob": logprob, "bytes": list(raw)}
