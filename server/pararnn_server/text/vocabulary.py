"""The vocabulary for the engine: the text of every id, and the ids that end a reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Vocabulary(NamedTuple):
    """token_bytes: text of each id of the model, b"" for special ones.

    byte_ids: the id of each of the 256 bytes, -1 for one that no token has; empty if one of a token has none.
    spellings: of special tokens, by id. spelled_bytes: token_bytes with these.
    """

    token_bytes: Sequence[bytes]
    byte_ids: Sequence[int]
    eos_token_id: int | None
    spellings: Mapping[int, str]
    spelled_bytes: Sequence[bytes]

    @classmethod
    def build(
        cls,
        token_bytes: Sequence[bytes],
        vocab_size: int,
        eos_token_id: int | None,
        special_ids: Mapping[str, int] = MappingProxyType({}),
    ) -> Vocabulary:
        """Ids of the model beyond the tokenizer's have no text. ValueError if the tokenizer has more."""
        if len(token_bytes) > vocab_size:
            raise ValueError(f"the tokenizer has {len(token_bytes)} ids, the model only {vocab_size}")
        singles: dict[int, int] = {}
        for token_id, data in enumerate(token_bytes):
            if len(data) == 1:
                singles.setdefault(data[0], token_id)
        used = set().union(*token_bytes)
        byte_ids = tuple(singles.get(byte, -1) for byte in range(256)) if used <= singles.keys() else ()
        padding = (b"",) * (vocab_size - len(token_bytes))
        spellings = {token_id: name for name, token_id in special_ids.items() if name}
        shown = (*token_bytes, *padding)
        spelled = tuple(
            spellings[token_id].encode() if token_id in spellings else data
            for token_id, data in enumerate(shown)
        )
        return cls(shown, byte_ids, eos_token_id, spellings, spelled)
