"""Prompts of completions, sessions and /tokenize to token ids."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pararnn_server.errors import BadRequest
from pararnn_server.state_cache.breakpoints import PLAIN_USE, CacheUse
from pararnn_server.state_cache.prefix_tree import id_array
from pararnn_server.text.text_encoder import TokenLimit
from pararnn_server.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """added, appended: how many leading and trailing ids (a BOS, an EOS) the client did not write itself.

    stable: how many leading ids of a text stay the same whatever is appended to it; 0: not known.
    cache_use: which states of the prompt are kept, and pinned.
    """

    token_ids: Sequence[int]
    added: int = 0
    appended: int = 0
    stable: int = 0
    cache_use: CacheUse = PLAIN_USE


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Reader of prompts. It raises BadRequest for ids that are no tokens, and for too many of them."""

    tokenizer: Tokenizer
    max_tokens: int

    async def text(self, text: str, *, param: str, bos: bool) -> EncodedPrompt:
        """Read the spelling of a special token as that token.

        bos: the text starts a context and gets the ids that the tokenizer puts around one.
        """
        ids, stable = await self.tokenizer.encode_open(text, limit=self.limit(param))
        opening = self.tokenizer.opening_ids if bos else ()
        closing = self.tokenizer.closing_ids if bos else ()
        if opening or closing:
            ids = array("i", opening) + id_array(ids) + array("i", closing)
        # Checked again: the opening and closing ids count too.
        return EncodedPrompt(self.checked(ids, param), len(opening), len(closing), len(opening) + stable)

    def ids(self, ids: Sequence[int], *, param: str) -> EncodedPrompt:
        """Ids are taken as they are: no BOS is put before them."""
        highest = int(np.max(id_array(ids), initial=0))
        if highest >= self.tokenizer.vocab_size:
            message = f"{param}: token {highest} is not in the vocabulary of {self.tokenizer.vocab_size}."
            raise BadRequest(message, param=param)
        return EncodedPrompt(id_array(self.checked(ids, param)))

    def checked(self, ids: Sequence[int], param: str) -> Sequence[int]:
        """The ids, if there are not too many."""
        self.limit(param).check(len(ids))
        return ids

    def limit(self, param: str) -> TokenLimit:
        """The most tokens of one prompt."""
        return TokenLimit(self.max_tokens, param)
