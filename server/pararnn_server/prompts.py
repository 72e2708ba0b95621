"""Prompts of completions, sessions and /tokenize to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pararnn_server.errors import BadRequest
from pararnn_server.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """added: how many leading ids (0 or 1, the BOS) the client did not write itself.

    stable: how many leading ids of a text stay the same whatever is appended to it; 0: not known.
    """

    ids: Sequence[int]
    added: int = 0
    stable: int = 0


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Raises BadRequest for ids that are no tokens, and for too many of them."""

    tokenizer: Tokenizer
    max_tokens: int

    async def text(self, text: str, *, param: str, bos: bool) -> EncodedPrompt:
        """bos: the text starts a context. The spelling of a special token is read as that token."""
        ids, stable = await self.tokenizer.encode_open(text)
        if bos and self.tokenizer.add_bos and self.tokenizer.bos_id is not None:
            return EncodedPrompt(self.checked([self.tokenizer.bos_id, *ids], param), 1, stable + 1)
        return EncodedPrompt(self.checked(ids, param), 0, stable)

    def ids(self, ids: Sequence[int], *, param: str) -> EncodedPrompt:
        """Ids are taken as they are: no BOS is put before them."""
        if ids and max(ids) >= self.tokenizer.vocab_size:
            message = f"{param}: token {max(ids)} is not in the vocabulary of {self.tokenizer.vocab_size}."
            raise BadRequest(message, param=param)
        return EncodedPrompt(self.checked(ids, param))

    def checked(self, ids: Sequence[int], param: str) -> Sequence[int]:
        """The ids, if there are not too many."""
        if len(ids) > self.max_tokens:
            message = f"{param}: {len(ids)} tokens; this server takes at most {self.max_tokens}."
            raise BadRequest(message, param=param)
        return ids
