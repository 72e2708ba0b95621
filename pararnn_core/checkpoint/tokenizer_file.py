"""The parts of `tokenizer.json` that a checkpoint needs: its bytes and the text of each token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pararnn_core.checkpoint.checkpoint_text import MAX_TOKENIZER_BYTES
from pararnn_core.storage.untrusted_file import CheckpointError, parse_json, read_small_file


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer.json. data: the file's bytes; tokens: text by id, added tokens included."""

    data: bytes
    tokens: dict[int, str]

    @classmethod
    def read(cls, path: Path, *, within: Path | None) -> TokenizerFile:
        """Read a file. Raises CheckpointError if it is no tokenizer.json with a vocabulary.

        within: as `open_regular_file` takes it.
        """
        data = read_small_file(path, MAX_TOKENIZER_BYTES, within=within)
        try:
            return cls(data, _tokens(parse_json(data)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise CheckpointError(path, f"is no tokenizer.json with a vocabulary: {error}") from None

    def check_fits(self, path: Path, vocab_size: int) -> None:
        """Raise CheckpointError if the tokenizer has a token id that is not in the model's vocabulary."""
        highest = max(self.tokens, default=0)
        if highest >= vocab_size:
            raise CheckpointError(
                path,
                f"has token id {highest}, but vocab_size is {vocab_size}: use this model's own tokenizer",
            )


def byte_alphabet() -> dict[str, int]:
    """Return the byte of each character in which byte-level BPE spells tokens.

    Printable Latin-1 is written as itself, and the other bytes, in order, from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def is_byte_of_utf8(byte: int) -> bool:
    """Return False for 0xC0, 0xC1 and all from 0xF5 on, which never occur in UTF-8."""
    return byte not in (0xC0, 0xC1) and byte < 0xF5


def _tokens(fields: dict[str, Any]) -> dict[int, str]:
    vocabulary = fields["model"]["vocab"]
    if isinstance(vocabulary, dict):
        tokens = {int(token): text for text, token in vocabulary.items()}
    else:
        tokens = {token: entry[0] for token, entry in enumerate(vocabulary)}
    return tokens | {int(added["id"]): str(added["content"]) for added in fields.get("added_tokens") or []}
