"""A tokenizer for random models. Every id has a text of its own, so that every token becomes an event."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FILLER_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_CHAT_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


def write_filler_tokenizer(path: Path, vocab_size: int, *, chat: bool = False) -> Path:
    """Write a byte-level tokenizer; return path. Ids 0 to 255 are single bytes, id i above is the text " i".

    chat: the last ids are the special tokens of FILLER_CHAT_TEMPLATE instead, which have no text.
    """
    special = _CHAT_TOKENS if chat else ()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    space = "\u0120"
    words = [*alphabet, *(f"{space}{i}" for i in range(len(alphabet), vocab_size - len(special)))]
    tokenizer = Tokenizer(
        models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], ignore_merges=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    tokenizer.save(str(path))
    return path
