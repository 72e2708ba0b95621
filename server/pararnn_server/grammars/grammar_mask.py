"""The token mask of a grammar: the position of one reply in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llguidance import LLExecutor, LLMatcher
from numpy.typing import NDArray

from pararnn_core.sampling.mask_words import MaskWords, num_words
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.grammar_cache import CachedGrammar
from pararnn_server.grammars.messages import plain

# Of the ids that a grammar forces: the engine's thread moves on by so many at once.
FORCED_AT_ONCE = 64
# The error of llguidance where no id may come and the text is not complete.
_NO_TEXT = "NoExtensionBias"


@dataclass(frozen=True, slots=True)
class MaskMaker:
    """Makes masks of several replies at once.

    grammar_vocab_size: that of llguidance, which may add an EOS.
    """

    executor: LLExecutor
    vocab_size: int
    grammar_vocab_size: int

    def make(self, matchers: Sequence[LLMatcher]) -> NDArray[np.int32]:
        """Return the mask of each, one per row."""
        words = np.empty((len(matchers), num_words(self.grammar_vocab_size)), np.int32)
        places = [(matcher, row) for row, matcher in enumerate(matchers)]
        self.executor.unsafe_compute_mask_ptr(places, words.ctypes.data, words.strides[0], len(matchers))
        return words[:, : num_words(self.vocab_size)]


class GrammarMask:
    """Follows one reply through a grammar. Copies share what they learn of the grammar's texts.

    param: the field of the request that asked for the grammar.
    grammar: gets to know how long it is followed. It may grow meanwhile, by what copies share: up to tens of
        megabytes where it takes too much to follow, and then it is not kept.
    withheld: ids that are not drawn as long as any other is allowed; None: none.
    is_complete: no id may come but an end.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        maker: MaskMaker,
        param: str,
        grammar: CachedGrammar,
        withheld: MaskWords | None = None,
    ) -> None:
        self._matcher = matcher
        self._maker = maker
        self._param = param
        self._grammar = grammar
        self._withheld = withheld
        # Forced ids that the matcher has not moved past, the next one last.
        self._coming: list[int] = []
        # Kept, because a matcher that makes its mask on another thread cannot be asked.
        self.is_complete = matcher.is_stopped()

    @classmethod
    def allowed_of(cls, masks: Sequence[GrammarMask]) -> list[MaskWords | Exception]:
        """Return the mask of the next id of each reply, or the error of one that takes too much to follow."""
        began = time.perf_counter()
        words = masks[0]._maker.make([mask._matcher for mask in masks])
        seconds = time.perf_counter() - began
        # Any of them may be the one that has grown.
        for grammar in {id(mask._grammar.matcher): mask._grammar for mask in masks}.values():
            grammar.grow(seconds)
        return [mask._checked(row) for mask, row in zip(masks, words, strict=True)]

    def accept(self, token_id: int) -> None:
        """Move on by an id that the mask allowed. Raises BadRequest where that takes too much."""
        self._matcher.consume_token(token_id)
        self._moved()

    def look_ahead(self) -> None:
        """Find the next ids that alone may come. A long text takes long, once for all of its ids."""
        if not self._coming and not self.is_complete:
            # All of them: asked for a part, llguidance would encode the rest again each time.
            began = time.perf_counter()
            self._coming = self._matcher.compute_ff_tokens()[::-1]
            self._grammar.grow(time.perf_counter() - began)

    def forced(self) -> Sequence[int]:
        """Move on by the next ids that alone may come, and return them. Raises BadRequest like `accept`."""
        self.look_ahead()
        if not self._coming:
            return ()
        ids = self._coming[: -FORCED_AT_ONCE - 1 : -1]
        del self._coming[-len(ids) :]
        self._matcher.consume_tokens(ids)
        self._moved()
        return ids

    def fork(self) -> GrammarMask:
        """Return a copy that moves on by itself."""
        copy = GrammarMask(self._matcher.deep_copy(), self._maker, self._param, self._grammar, self._withheld)
        copy._coming = self._coming.copy()
        return copy

    def _checked(self, words: MaskWords) -> MaskWords | Exception:
        # A matcher that gave up allows an EOS, which would look like a complete reply.
        if self._matcher.is_error():
            return self._given_up()
        if self._withheld is not None and (words & ~self._withheld).any():
            return words & ~self._withheld
        return words

    def _moved(self) -> None:
        if self._matcher.is_error():
            raise self._given_up()
        self.is_complete = self._matcher.is_stopped()

    def _given_up(self) -> BadRequest:
        self._grammar.drop()
        reason = self._matcher.get_error()
        if reason.startswith(_NO_TEXT):
            message = f"{self._param}: no text has this form. A reference or a rule may never end; let it."
            return BadRequest(message, param=self._param, code="unsupported_grammar")
        message = f"{self._param}: this grammar takes too much to follow: {plain(reason)}."
        return BadRequest(message, param=self._param, code="grammar_too_complex")
