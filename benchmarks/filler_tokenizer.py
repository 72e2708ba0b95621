"""A tokenizer for random models: every id has text, so that every token becomes an event of a stream."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def write_filler_tokenizer(path: Path, vocab_size: int) -> Path:
    """Byte-level: ids 0 to 255 are single bytes, id i from there on is the text " i". Returns path."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    space = "\u0120"
    words = [*alphabet, *(f"{space}{i}" for i in range(len(alphabet), vocab_size))]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path))
    return path
