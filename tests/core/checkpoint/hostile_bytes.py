"""Checkpoints whose files are no longer what they were, at random places."""

from __future__ import annotations

import json
import random

from tests.core.checkpoint.checkpoint_parts import CONFIG, TOKENIZER, WEIGHTS, Parts, with_header


def entry_twice(parts: Parts) -> None:
    whole = parts.weights_file()
    length = int.from_bytes(whole[:8], "little")
    name = parts.random.choice(list(parts.header))
    again = json.dumps({name: parts.header[name]}).encode()
    parts.raw[WEIGHTS] = with_header(whole[8 : 7 + length] + b"," + again[1:], whole[8 + length :])


def header_length(parts: Parts) -> None:
    whole = parts.weights_file()
    length = int.from_bytes(whole[:8], "little")
    wrong = [0, 1, 7, length - 1, length + 1, length * 2, len(whole), 100 << 20, 2**40, 2**63, 2**64 - 1]
    parts.raw[WEIGHTS] = with_header(whole[8:], b"", parts.random.choice(wrong))


def header_that_is_none(parts: Parts) -> None:
    texts = [b"", b"null", b"[]", b"{", b"{}", b"[" * 90_000, b'{"a":' * 90_000, b"\xff" * 80, b'{"a": NaN}']
    texts += [
        b'{"a": ' + b"9" * 6000 + b"}",
        b'{"a": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 4]}}',
    ]
    texts += [
        b'{"a": {"dtype": "F32", "shape": [' + b"1," * 50_000 + b'1], "data_offsets": [0, 4]}}',
        b" " * 70_000,
    ]
    parts.raw[WEIGHTS] = with_header(parts.random.choice(texts), b"\0" * parts.random.choice([0, 4, 64]))


def flipped(data: bytes, source: random.Random, end: int) -> bytes:
    """One to three bytes before `end` are changed."""
    spoiled = bytearray(data)
    for _ in range(source.randint(1, 3)):
        spoiled[source.randrange(end)] ^= source.randint(1, 255)
    return bytes(spoiled)


def flipped_header(parts: Parts) -> None:
    whole = parts.weights_file()
    parts.raw[WEIGHTS] = flipped(whole, parts.random, 8 + int.from_bytes(whole[:8], "little"))


def flipped_config(parts: Parts) -> None:
    whole = json.dumps(parts.config).encode()
    parts.raw[CONFIG] = flipped(whole, parts.random, len(whole))


def flipped_weights(parts: Parts) -> None:
    whole = parts.weights_file()
    parts.raw[WEIGHTS] = flipped(whole, parts.random, len(whole))


def flipped_tokenizer(parts: Parts) -> None:
    whole = parts.raw[TOKENIZER]
    parts.raw[TOKENIZER] = flipped(whole, parts.random, len(whole))


def truncated(parts: Parts) -> None:
    files = {WEIGHTS: parts.weights_file(), CONFIG: json.dumps(parts.config).encode()}
    name = parts.random.choice([WEIGHTS, WEIGHTS, CONFIG])
    parts.raw[name] = files[name][: parts.random.randrange(len(files[name]))]


def longer(parts: Parts) -> None:
    parts.raw[WEIGHTS] = parts.weights_file() + bytes(parts.random.choice([1, 2, 64, 5000]))


BYTES = (entry_twice, header_length, header_that_is_none, truncated, longer)
"""Refused for what they are, with or without a fingerprint."""

DAMAGE = (flipped_header, flipped_config, flipped_weights, flipped_tokenizer)
"""Refused, by the fingerprint at the latest, unless the model is the same to the last bit."""
