"""Byte-level BPE tokenizers: training, files, and the encoding of plain text and of chats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from pararnn_core.training.chat_template import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, SPECIAL_TOKENS

SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a tokenizer from texts alone. Ids 0..4 are special tokens, followed by 256 bytes and merges.

    A text with few words gives fewer tokens than vocab_size.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def encode_source(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Encode plain text. Spellings of special tokens become ordinary characters."""
    tokenizer.encode_special_tokens = True
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def encode_chat(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Encode text of the chat template. Spellings of special tokens become those tokens."""
    tokenizer.encode_special_tokens = False
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json (with the chat template)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.encode_special_tokens = False
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TURN,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a tokenizer. Raises FileNotFoundError if the folder has no tokenizer.json."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"no {file}: give the folder of a tokenizer")
    return Tokenizer.from_file(str(file))


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a token. Raises ValueError if the tokenizer does not have it."""
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token}: it was not made by these recipes")
    return found
