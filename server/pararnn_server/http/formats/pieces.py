"""Pieces of a reply: text that is safe to show and the log-probabilities that go with it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pararnn_core.sampling.sampler import Sampled
from pararnn_server.engine.request import PromptLogprobs, Tokens
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.text.tokenizer import Tokenizer

# The number that other servers send in place of minus infinity.
LOWEST_LOGPROB = -9999.0
Alternatives = Sequence[tuple[int, float]]


class TokenEntry(NamedTuple):
    """data: what the token adds to the text. logprob None: nothing came before it."""

    token_id: int
    data: bytes
    logprob: float | None
    top: Alternatives


@dataclass(frozen=True, slots=True)
class Piece:
    """entries None: log-probabilities were not asked for. token_ids: ids of a reply that are wholly shown."""

    text: str
    entries: Sequence[TokenEntry] | None
    token_ids: Sequence[int] = ()


class PieceReader:
    """Outputs of one choice to pieces. Joined, their text is that of the bytes joined, whatever the cuts.

    echo: whether the prompt comes first, special tokens by name, an added BOS as nothing.
    skips_special: special tokens of the reply have no text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: EncodedPrompt,
        *,
        logprobs: bool,
        echo: bool,
        skips_special: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._logprobs = logprobs
        self._text_of = tokenizer.token_bytes.__getitem__ if skips_special else tokenizer.shown
        # A token may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._echoed = 0
        self.echoes = echo
        self._echoes_at_once = echo and not logprobs

    def echo_at_once(self) -> list[Piece]:
        """The echo, if there is one and it does not wait for log-probabilities."""
        return [self._echo(len(self._prompt.token_ids), None)] if self._echoes_at_once else []

    def follow(self, other: PieceReader) -> None:
        """Take the echo of another choice of the same prompt as read: it is the same."""
        self._echoed = other._echoed
        # The prompt may end inside a character that the reply completes.
        self._decoder.setstate(other._decoder.getstate())

    def prompt(self, output: PromptLogprobs) -> Piece:
        """The part of the echo that the output scores."""
        return self._echo(len(output.rows), output.rows)

    def tokens(self, output: Tokens) -> Piece:
        """Bytes of an unfinished character wait for the rest of it."""
        entries = None
        if self._logprobs:
            entries = [entry(row, self._text_of(row.token_id)) for row in output.logprobs or ()]
        return Piece(self._decoder.decode(output.text_bytes), entries, output.token_ids)

    def rest(self) -> Piece:
        """Return an unfinished character at the very end as it is shown."""
        return Piece(self._decoder.decode(b"", True), [] if self._logprobs else None)

    def _echo(self, count: int, rows: Sequence[Sampled | None] | None) -> Piece:
        start, self._echoed = self._echoed, self._echoed + count
        ids = self._prompt.token_ids[start : self._echoed]
        written = range(self._prompt.added, len(self._prompt.token_ids) - self._prompt.appended)
        data = [self._tokenizer.shown(token) if start + i in written else b"" for i, token in enumerate(ids)]
        text = self._decoder.decode(b"".join(data))
        if rows is None:
            return Piece(text, None)
        entries = [
            TokenEntry(token, raw, None, ()) if row is None else entry(row, raw)
            for token, raw, row in zip(ids, data, rows, strict=True)
        ]
        return Piece(text, entries)


def entry(row: Sampled, data: bytes) -> TokenEntry:
    """JSON has no infinity, so an impossible token gets a very low number."""
    top = [(token, max(logprob, LOWEST_LOGPROB)) for token, logprob in row.top]
    logprob = None if row.logprob is None else max(row.logprob, LOWEST_LOGPROB)
    return TokenEntry(row.token_id, data, logprob, top)
