"""Token ids, and log-probabilities of prompts, which an answer carries beside its texts on request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from pararnn_core.sampling.sampled import Sampled
from pararnn_server.http.formats.json_parts import json_list
from pararnn_server.http.formats.pieces import Piece, entry
from pararnn_server.text.prompts import EncodedPrompt
from pararnn_server.text.tokenizer import Tokenizer


class TokenReport:
    """The wishes of one request, in vLLM's names.

    with_ids: return_token_ids. names_ids: return_tokens_as_token_ids.
    prompt_logprobs: how many alternatives each id of the prompts has; None: they are not reported.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompts: Sequence[EncodedPrompt],
        num_choices: int,
        *,
        with_ids: bool = False,
        names_ids: bool = False,
        prompt_logprobs: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._num_choices = num_choices
        self._top = prompt_logprobs
        self._rows: list[list[Sampled | None]] = [[] for _ in prompts]
        self.with_ids = with_ids
        self.names_ids = names_ids

    def take(self, prompt: int, rows: Sequence[Sampled | None]) -> None:
        """Take the next rows of a prompt."""
        if self._top is not None:
            self._rows[prompt].extend(rows)

    def name(self, token_id: int) -> str:
        """Return the name of a token in lists of log-probabilities."""
        return f"token_id:{token_id}" if self.names_ids else self._tokenizer.token_text(token_id)

    def shows(self, piece: Piece) -> bool:
        """Return True if a piece without a text is shown for its ids."""
        return self.with_ids and bool(piece.token_ids)

    def reply_ids(self, token_ids: Iterable[int]) -> str:
        """Return the member with ids of a reply, or nothing."""
        return "".join(self._ids("token_ids", token_ids)) if self.with_ids else ""

    def whole_reply(self, pieces: Sequence[Piece], rest: Sequence[int]) -> Iterator[str]:
        """Yield the member with all ids of a reply. rest: those that were never shown."""
        if self.with_ids:
            yield from self._ids("token_ids", chain(*(piece.token_ids for piece in pieces), rest))

    def prompt(self, index: int) -> Iterator[str]:
        """Yield the members about the prompt of a choice."""
        prompt = index // self._num_choices
        if self.with_ids:
            yield from self._ids("prompt_token_ids", self._prompts[prompt].token_ids)
        if self._top is not None:
            yield ',"prompt_logprobs":'
            yield from json_list(map(self._row, self._rows[prompt]))

    def _ids(self, name: str, token_ids: Iterable[int]) -> Iterator[str]:
        yield f',"{name}":'
        yield from json_list(token_ids)

    def _row(self, row: Sampled | None) -> dict[str, Any] | None:
        """Return the id that was there and the likeliest ones, by id."""
        if row is None:
            return None
        shown = entry(row, b"")
        top = list(shown.top)[: self._top]
        ranks = {token_id: rank for rank, (token_id, _) in enumerate(top, 1)}
        return {
            str(token_id): {
                "logprob": logprob,
                "rank": ranks.get(token_id),
                "decoded_token": self._tokenizer.shown(token_id).decode("utf-8", "replace"),
            }
            for token_id, logprob in ((row.token_id, shown.logprob), *top)
        }
