"""Encoding off the event loop, in bounded pieces, so that whoever waits for it can give up between two."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from pararnn_server.concurrency.fair_threads import FairThreads
from pararnn_server.errors import BadRequest
from pararnn_server.text.text_pieces import PIECE_CHARS, pieces

SLICE_SECONDS = 0.01
NUM_THREADS = 2
# Encoded in less time than a thread may take to wake.
SHORT_CHARS = 512
# A text of a tokenizer whose rules are not known is cut only beyond this.
WHOLE_CHARS = 1 << 18


class TokenLimit(NamedTuple):
    """param: the field that is at fault when there are more ids."""

    max_tokens: int
    param: str

    def check(self, num_tokens: int) -> None:
        """Raise BadRequest for more ids than the limit."""
        if num_tokens > self.max_tokens:
            message = f"{self.param}: more than {self.max_tokens} tokens, the most that this server takes."
            raise BadRequest(message, param=self.param)


class OpenText(NamedTuple):
    """num_stable: how many leading ids stay the same whatever is appended to the text."""

    ids: Sequence[int]
    num_stable: int


class TextEncoder:
    """Keys take turns: each has a thread for a slice of time, and at least for one piece of text.

    last_word: where the last pre-token of an encoding begins.
    longest: bytes of the longest token where a text has no fewer bytes than characters; 0: not known.
    seams_hold: whether the parts of a text between two words have the ids of the whole.
    """

    def __init__(
        self, last_word: Callable[[Encoding], int], longest: int, *, seams_hold: bool, cuts_words: bool
    ) -> None:
        self._last_word = last_word
        self._longest = longest
        self._piece_chars = PIECE_CHARS if seams_hold else WHOLE_CHARS
        self._cuts_words = cuts_words
        self._threads = FairThreads(NUM_THREADS, "tokenizer")

    async def encode(
        self, encoder: Tokenizer, parts: Sequence[str | int], limit: TokenLimit | None = None
    ) -> OpenText:
        """Encode texts, each by itself, and take ids as they are. Raises BadRequest beyond the limit.

        When the caller is cancelled, the encoding ends after the piece that is under way.
        """
        if limit is not None and self._longest:
            # No text has fewer ids than its length divided by the longest token.
            limit.check(sum(len(part) for part in parts if isinstance(part, str)) // self._longest)
        steps = self._steps(encoder, parts, limit)
        if len(parts) == 1 and isinstance(parts[0], str) and len(parts[0]) <= SHORT_CHARS:
            encoded = _advance(steps)
        else:
            encoded = await self._threads.run(_advance, steps)
        while encoded is None:
            encoded = await self._threads.run(_advance, steps)
        return encoded

    def _steps(
        self, encoder: Tokenizer, parts: Sequence[str | int], limit: TokenLimit | None
    ) -> Generator[None, None, OpenText]:
        """Yield after each piece."""
        ids = array("i")
        num_stable = 0
        for number, part in enumerate(parts):
            if isinstance(part, int):
                ids.append(part)
                num_stable = len(ids)
                continue
            for piece in pieces(part, self._piece_chars, words=self._cuts_words):
                # A batch, because only that leaves the interpreter to other threads.
                [encoding] = encoder.encode_batch([piece], add_special_tokens=False)
                num_before = len(ids)
                ids.extend(encoding.ids)
                if limit is not None:
                    limit.check(len(ids))
                yield
            if number == len(parts) - 1:
                num_stable = num_before + self._last_word(encoding)
        return OpenText(ids, num_stable)


def _advance(steps: Generator[None, None, OpenText]) -> OpenText | None:
    """Run for a slice of time. Return None while there is more to do."""
    ends = time.monotonic() + SLICE_SECONDS
    try:
        while True:
            next(steps)
            # Ending the slice here lets another key have the thread.
            if time.monotonic() >= ends:
                return None
    except StopIteration as stop:
        encoded: OpenText = stop.value
        return encoded
