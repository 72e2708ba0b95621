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


def _tokens(fields: dict[str, Any]) -> dict[int, str]:
    vocabulary = fields["model"]["vocab"]
    if isinstance(vocabulary, dict):
        tokens = {int(token): text for text, token in vocabulary.items()}
    else:
        tokens = {token: entry[0] for token, entry in enumerate(vocabulary)}
    return tokens | {int(added["id"]): str(added["content"]) for added in fields.get("added_tokens") or []}
