"""Special tokens of a checkpoint: those that transformers calls special, from whichever file names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as BpeTokenizer

from pararnn_core.checkpoint.checkpoint_text import SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, CheckpointText

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("extra_special_tokens", "additional_special_tokens")


@dataclass(frozen=True)
class SpecialTokens:
    """Spellings of special tokens.

    named: by the name of their member, such as eos_token. Chat templates know these.
    others: listed without a name.
    """

    named: Mapping[str, str]
    others: tuple[str, ...]

    @classmethod
    def read(cls, text: CheckpointText) -> SpecialTokens:
        """Read the files in the order in which transformers does. CheckpointError for a broken one."""
        config = text.fields(TOKENIZER_CONFIG)
        fields = dict(config)
        if "added_tokens_decoder" not in config:
            # An older layout, in which this file wins.
            fields |= text.fields(SPECIAL_TOKENS_MAP)
        extra = fields.get("extra_special_tokens")
        members = fields | extra if isinstance(extra, dict) else fields
        named = {name: value for name in _named_members(members) if (value := _spelling(members[name]))}
        decoder = fields.get("added_tokens_decoder")
        listed = [
            *(entry for name in _LISTS for entry in _entries(fields.get(name))),
            *(entry for entry in _entries(decoder) if isinstance(entry, dict) and entry.get("special")),
        ]
        others = dict.fromkeys(spelling for entry in listed if (spelling := _spelling(entry)))
        return cls(named, tuple(spelling for spelling in others if spelling not in named.values()))

    def mark(self, tokenizer: BpeTokenizer, vocab_size: int) -> None:
        """Tell the tokenizer which tokens are special.

        A token that tokenizer.json lacks gets the next id, as in transformers, if the model has a row for it.
        Not so a BOS or EOS: the model cannot have learned it.
        """
        ends = [self.named.get(name) for name in ("bos_token", "eos_token")]
        for spelling in (*self.named.values(), *self.others):
            has_room = tokenizer.get_vocab_size(with_added_tokens=True) < vocab_size and spelling not in ends
            if has_room or tokenizer.token_to_id(spelling) is not None:
                tokenizer.add_special_tokens([spelling])


def _named_members(fields: Mapping[str, Any]) -> list[str]:
    """Members that hold one special token, those of special kinds of models included: "image_token"."""
    further = [name for name in fields if name.endswith("_token") and isinstance(fields[name], (str, dict))]
    return [name for name in dict.fromkeys((*_NAMED, *further)) if name in fields]


def _entries(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _spelling(entry: object) -> str | None:
    """A token is given as text, or as an object with its content."""
    content = entry.get("content") if isinstance(entry, dict) else entry
    return content if isinstance(content, str) and content else None
