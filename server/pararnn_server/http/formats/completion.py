"""/v1/completions on the wire."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pararnn_server.engine.request import TokenUsage
from pararnn_server.http.formats.base import ChunkFormat, Ending, Heading, compact, quoted
from pararnn_server.http.formats.json_parts import json_list, json_text
from pararnn_server.http.formats.pieces import Piece, TokenEntry
from pararnn_server.text.tokenizer import Tokenizer


class CompletionFormat(ChunkFormat):
    """top_logprobs: how many alternatives each token lists; None where none were asked for."""

    body_object = chunk_object = "text_completion"

    def __init__(
        self, heading: Heading, tokenizer: Tokenizer, top_logprobs: int | None, *, null_usage: bool = False
    ) -> None:
        super().__init__(heading, null_usage=null_usage)
        self._tokenizer = tokenizer
        self._top = top_logprobs
        # Offsets continue from event to event, for each choice by itself.
        self._offsets: dict[int, _Offset] = {}

    def opening(self, index: int, usage: TokenUsage | None) -> str:
        """The ids of the prompt, where they are asked for."""
        if not self.report.with_ids:
            return ""
        about = "".join(self.report.prompt(index))
        return self.chunk(f'{{"index":{index},"text":"","logprobs":null,"finish_reason":null{about}}}', usage)

    def piece(self, index: int, piece: Piece, usage: TokenUsage | None) -> str:
        """Nothing for a piece that shows nothing."""
        if not piece.text and not piece.entries and usage is None and not self.report.shows(piece):
            return ""
        logprobs = compact(self._logprobs(index, piece.entries)) if piece.entries else "null"
        head = f'{{"index":{index},"text":{quoted(piece.text)}'
        ids = self.report.reply_ids(piece.token_ids)
        return self.chunk(f'{head},"logprobs":{logprobs},"finish_reason":null{ids}}}', usage)

    def end(self, index: int, ending: Ending, usage: TokenUsage | None) -> str:
        """An empty text with the reason."""
        ids = self.report.reply_ids(ending.token_ids)
        choice = f'{{"index":{index},"text":"","logprobs":null,{ending.fields}{ids}}}'
        return self.chunk(choice, usage, ending.session)

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> Iterator[str]:
        """Text and log-probabilities of all pieces."""
        yield f'{{"index":{index},"text":'
        yield from json_text(piece.text for piece in pieces)
        yield ',"logprobs":'
        yield from self._lists(index, pieces) if self._top is not None else ("null",)
        yield f",{ending.fields}"
        yield from self.report.whole_reply(pieces, ending.token_ids)
        yield from self.report.prompt(index)
        yield "}"

    def _lists(self, index: int, pieces: Sequence[Piece]) -> Iterator[str]:
        """Yield the lists one after the other, each from all pieces."""
        offset = self._offsets.setdefault(index, _Offset())
        values: dict[str, Callable[[TokenEntry], Any]] = {
            "tokens": lambda entry: self.report.name(entry.token_id),
            "token_logprobs": lambda entry: entry.logprob,
            "top_logprobs": self._alternatives,
            "text_offset": lambda entry: offset.advance(entry.data),
        }
        for name, value in values.items():
            yield f'{"{" if name == "tokens" else ","}"{name}":'
            yield from json_list(value(entry) for piece in pieces for entry in piece.entries or ())
        yield "}"

    def _logprobs(self, index: int, entries: Sequence[TokenEntry]) -> dict[str, Any]:
        offset = self._offsets.setdefault(index, _Offset())
        name = self.report.name
        return {
            "tokens": [name(entry.token_id) for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [self._alternatives(entry) for entry in entries],
            "text_offset": [offset.advance(entry.data) for entry in entries],
        }

    def _alternatives(self, entry: TokenEntry) -> dict[str, float] | None:
        """The likeliest by name, and the token itself; of two with one name the likelier."""
        if entry.logprob is None:
            return None
        named: dict[str, float] = {}
        # The prompt's rows may have more alternatives, for prompt_logprobs.
        for token, logprob in (*list(entry.top)[: self._top], (entry.token_id, entry.logprob)):
            # The wire format is an object, which can hold each name only once.
            named.setdefault(self.report.name(token), logprob)
        return named


class _Offset:
    """Characters before the next token."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def advance(self, data: bytes) -> int:
        before = self._characters
        self._characters += len(self._decoder.decode(data))
        return before
