"""/v1/completions on the wire."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import chain
from typing import Any

from pararnn_server.formats.base import ChunkFormat, Ending, Heading, compact, quoted
from pararnn_server.formats.pieces import Piece, TokenEntry
from pararnn_server.request import Usage
from pararnn_server.tokenizer import Tokenizer


class CompletionFormat(ChunkFormat):
    """top_logprobs: how many alternatives each token lists; None where none were asked for."""

    body_object = chunk_object = "text_completion"

    def __init__(
        self, heading: Heading, tokenizer: Tokenizer, top_logprobs: int | None, *, null_usage: bool = False
    ) -> None:
        super().__init__(heading, null_usage=null_usage)
        self._tokenizer = tokenizer
        self._top = top_logprobs
        self._offsets: dict[int, _Offset] = {}

    def piece(self, index: int, piece: Piece, usage: Usage | None) -> str:
        """Nothing for a piece that shows nothing."""
        if not piece.text and not piece.entries and usage is None:
            return ""
        logprobs = compact(self._logprobs(index, piece.entries)) if piece.entries else "null"
        head = f'{{"index":{index},"text":{quoted(piece.text)}'
        return self.chunk(f'{head},"logprobs":{logprobs},"finish_reason":null}}', usage)

    def end(self, index: int, ending: Ending, usage: Usage | None) -> str:
        """An empty text with the reason."""
        choice = f'{{"index":{index},"text":"","logprobs":null,"finish_reason":"{ending.reason}"}}'
        return self.chunk(choice, usage, ending.session)

    def choice(self, index: int, pieces: Sequence[Piece], ending: Ending) -> dict[str, Any]:
        """Text and log-probabilities of all pieces."""
        entries = list(chain.from_iterable(piece.entries or () for piece in pieces))
        return {
            "index": index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": None if self._top is None else self._logprobs(index, entries),
            "finish_reason": ending.reason,
        }

    def _logprobs(self, index: int, entries: Sequence[TokenEntry]) -> dict[str, Any]:
        offset = self._offsets.setdefault(index, _Offset())
        name = self._tokenizer.token_text
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
        for token, logprob in (*entry.top, (entry.token_id, entry.logprob)):
            named.setdefault(self._tokenizer.token_text(token), logprob)
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
