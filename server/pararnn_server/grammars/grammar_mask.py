"""The token mask of a grammar: the position of one reply in it."""

from __future__ import annotations

import numpy as np
from llguidance import LLMatcher

from pararnn_core.sampling.mask_words import MaskWords, num_words
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.messages import plain


class GrammarMask:
    """Follows one reply through a grammar. Copies share what they learn of the grammar's texts.

    param: the field of the request that asked for the grammar.
    withheld: ids that are not drawn as long as any other is allowed; None: none.
    """

    def __init__(
        self, matcher: LLMatcher, vocab_size: int, param: str, withheld: MaskWords | None = None
    ) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._param = param
        self._withheld = withheld

    def allowed(self) -> MaskWords:
        """Return the mask of the next id. Raises BadRequest where the grammar takes too much to follow."""
        words = np.frombuffer(self._matcher.compute_bitmask(), np.int32)[: num_words(self._vocab_size)]
        # A matcher that gave up allows an EOS, which would look like a complete reply.
        self._check()
        if self._withheld is not None and (words & ~self._withheld).any():
            return words & ~self._withheld
        return words

    def accept(self, token_id: int) -> None:
        """Move on by an id that the mask allowed."""
        self._matcher.consume_token(token_id)
        self._check()

    def fork(self) -> GrammarMask:
        """Return a copy that moves on by itself."""
        return GrammarMask(self._matcher.deep_copy(), self._vocab_size, self._param, self._withheld)

    def _check(self) -> None:
        if self._matcher.is_error():
            message = (
                f"{self._param}: this grammar takes too much to follow: {plain(self._matcher.get_error())}"
            )
            raise BadRequest(message, param=self._param, code="grammar_too_complex")
