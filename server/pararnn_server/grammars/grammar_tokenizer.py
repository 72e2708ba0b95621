"""The tokens of a model as a grammar sees them: the exact bytes of each, and the ids of a text."""

from __future__ import annotations

from collections.abc import Sequence

from llguidance import LLTokenizer, TokenizerWrapper

from pararnn_server.text.tokenizer import Tokenizer


class _Tokens(TokenizerWrapper):
    """The object that LLTokenizer reads: it asks for these names, and calls it to encode a text.

    llguidance could read tokenizer.json itself. It would then write the spelling of a control token in a text
    as that token.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_id: int | None) -> None:
        self.is_tokenizer_wrapper = True
        self.bos_token_id = None
        self.tokens = [tokenizer.shown(token_id) for token_id in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(tokenizer.control_ids.values())
        # Without an EOS llguidance adds an id for it, which no mask of ours has room for.
        self.eos_token_id = eos_token_id  # type: ignore[assignment]  # None is allowed
        self._tokenizer = tokenizer
        self._byte_ids = {data: token_id for token_id, data in enumerate(self.tokens) if len(data) == 1}

    def __call__(self, text: str) -> list[int]:
        ids, data = self._tokenizer.plain_ids(text), text.encode()
        # A normalizer may choose another spelling, but a grammar's text is exact.
        if b"".join(self.tokens[token_id] for token_id in ids) != data:
            return [self._byte_ids[data[i : i + 1]] for i in range(len(data))]
        return ids


def grammar_tokenizer(tokenizer: Tokenizer, eos_token_ids: Sequence[int]) -> LLTokenizer:
    """Return the tokenizer for grammars. Takes a second for a large vocabulary.

    eos_token_ids: each ends a reply. A control token is part of no text: only its id names it in a grammar.
    """
    first = eos_token_ids[0] if eos_token_ids else None
    # None: the EOS of the tokens.
    return LLTokenizer(_Tokens(tokenizer, first), eos_token=list(eos_token_ids) or None)
