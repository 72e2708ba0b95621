"""Byte-level tokenizers: what keeps one from giving text back, and the bytes of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as BpeTokenizer

from pararnn_core.checkpoint.tokenizer_file import byte_alphabet, is_byte_of_utf8

Spec = Mapping[str, Any]

# Pre-tokenizers that only cut. The others drop or change characters.
_CUTTERS = {"ByteLevel", "Split", "Digits", "Punctuation", "UnicodeScripts"}
_DROPPED = "removed"
_UTF8_BYTES = list(filter(is_byte_of_utf8, range(256)))


class TokenizerError(ValueError):
    """A tokenizer file is broken, or of a kind whose bytes per token are not known."""


def check_gives_text_back(spec: Spec) -> None:
    """Check that tokens hold all of a text. Raises TokenizerError that names the member of tokenizer.json."""
    for problem in _problems(spec):
        raise TokenizerError(f"tokenizer.json: {problem}")


def byte_tables(tokenizer: BpeTokenizer, vocab_size: int) -> tuple[list[bytes], list[bytes]]:
    """Return per id the bytes of its text, and the same again: the bytes by which it is shown."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=-1)
    if highest >= vocab_size:
        raise TokenizerError(
            f"tokenizer.json has token {highest}, but the model's vocabulary ends at {vocab_size - 1}"
        )
    added, byte_of = tokenizer.get_added_tokens_decoder(), byte_alphabet()
    shown = [b""] * vocab_size
    for content, token_id in vocabulary.items():
        shown[token_id] = content.encode() if token_id in added else _raw_bytes(content, byte_of)
    return list(shown), shown


def parts_of(node: Spec | None, key: str) -> list[Spec]:
    """List the members of a component that may be a sequence of components."""
    if node is None:
        return []
    if node.get("type") != "Sequence":
        return [node]
    return [part for member in node[key] for part in parts_of(member, key)]


def _problems(spec: Spec) -> Iterator[str]:
    model = spec.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab", {}), dict):
        yield "model.vocab must map tokens to ids: only byte-level BPE is served"
        return
    kind = model.get("type", "BPE")
    if kind != "BPE":
        yield f"model.type is {kind}: only byte-level BPE is served"
    decoders = [part.get("type") for part in parts_of(spec.get("decoder"), "decoders")]
    if [name for name in decoders if name != "Fuse"] != ["ByteLevel"]:
        yield f"decoder is {_names(decoders)}: only byte-level BPE is served, whose decoder is ByteLevel"
    for member in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(member):
            yield f"model.{member} is {model[member]!r}: tokens of byte-level BPE hold nothing but text"
    yield from _problems_of_normalizer(spec)
    yield from _problems_of_pre_tokenizer(spec)
    missing = _missing_bytes(model.get("vocab") or {})
    if missing:
        named = ", ".join(f"0x{byte:02x}" for byte in missing[:3])
        yield (
            f"model.vocab has no token for {len(missing)} of the bytes of UTF-8 ({named}): their text would"
            " vanish. Train the tokenizer with initial_alphabet=ByteLevel.alphabet()"
        )
    for token in spec.get("added_tokens") or []:
        if not token.get("special") and (token.get("lstrip") or token.get("rstrip")):
            yield f"added_tokens: {token.get('content')!r} is no special token, yet takes the space beside it"


def _problems_of_normalizer(spec: Spec) -> Iterator[str]:
    """NFC only chooses among spellings that Unicode calls the same text. Common tokenizers have it."""
    for part in parts_of(spec.get("normalizer"), "normalizers"):
        if part.get("type") != "NFC":
            yield f"normalizer {part.get('type')} changes the text: take it out, or train with NFC or none"


def _problems_of_pre_tokenizer(spec: Spec) -> Iterator[str]:
    parts = parts_of(spec.get("pre_tokenizer"), "pretokenizers")
    names = [part.get("type") for part in parts]
    if names.count("ByteLevel") != 1:
        yield f"pre_tokenizer is {_names(names)}: byte-level BPE needs one ByteLevel in it"
    for part in parts:
        name = part.get("type")
        if name not in _CUTTERS or str(part.get("behavior", "")).lower() == _DROPPED:
            yield f"pre_tokenizer {name} drops or changes characters"
        if name == "ByteLevel" and part.get("add_prefix_space", True):
            yield "pre_tokenizer.add_prefix_space puts a space before every text: set it to false"


def _missing_bytes(vocabulary: Mapping[str, int]) -> list[int]:
    alphabet = {byte: character for character, byte in byte_alphabet().items()}
    return [byte for byte in _UTF8_BYTES if alphabet[byte] not in vocabulary]


def _names(names: Sequence[object]) -> str:
    return ", ".join(map(str, names)) or "missing"


def _raw_bytes(content: str, byte_of: dict[str, int]) -> bytes:
    try:
        return bytes(byte_of[character] for character in content)
    except KeyError as error:
        raise TokenizerError(f"tokenizer.json: token {content!r} is not byte-level text") from error
