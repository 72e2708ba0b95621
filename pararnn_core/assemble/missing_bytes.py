"""Tokens for the bytes of UTF-8 that a transformer's vocabulary lacks.

SmolLM2 has no token for eight of them, and its tokenizer drops such text in silence. An assembled model has a
token for each, at the end of its vocabulary, so that all text comes back. Other texts keep their ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from pararnn_core.checkpoint.tokenizer_file import byte_alphabet, is_byte_of_utf8


def missing_bytes(tokens: Sequence[str]) -> list[str]:
    """Return the characters that spell bytes without a token, in the order of the bytes."""
    known = set(tokens)
    return [character for character in _characters() if character not in known]


def stand_ins(tokens: Sequence[str]) -> list[int]:
    """Return for each of missing_bytes the id of a token whose embedding it gets.

    It is that of the next byte with a token. In SmolLM2 these are rare too: control characters, and the
    beginnings of characters without a meaning. So the model hardly ever writes them.
    """
    characters, ids = _characters(), {token: i for i, token in enumerate(tokens)}
    found = []
    for character in missing_bytes(tokens):
        later = characters[characters.index(character) :]
        found.append(next(ids[each] for each in later if each in ids))
    return found


def _characters() -> list[str]:
    """Return the characters that spell the bytes of UTF-8, in the order of the bytes."""
    character_of = {byte: character for character, byte in byte_alphabet().items()}
    return [character_of[byte] for byte in range(256) if is_byte_of_utf8(byte)]
