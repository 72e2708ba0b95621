"""A compiler over the tiny tokenizer, and walks through its grammars with random ids."""

from __future__ import annotations

import asyncio
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.compiler import GrammarCompiler, GrammarLimits
from pararnn_server.grammars.grammar_mask import GrammarMask
from pararnn_server.grammars.specs import Spec
from pararnn_server.text.tokenizer import Tokenizer

from pararnn_core.sampling.mask_words import MaskWords, flags_of
from tests.server.text.tokenizer_files import IDS, VOCAB_SIZE, Files

EOS = IDS["<|eos|>"]


@cache
def tokenizer() -> Tokenizer:
    with TemporaryDirectory() as folder:
        return Files(config={"eos_token": "<|eos|>"}).tokenizer(Path(folder))


def new_compiler(limits: GrammarLimits | None = None) -> GrammarCompiler:
    return GrammarCompiler(tokenizer(), [EOS], limits)


@cache
def compiler() -> GrammarCompiler:
    return new_compiler()


def compiled(spec: Spec) -> GrammarMask:
    return asyncio.run(compiler().compile(spec, param="p"))


def refusal(spec: Spec, limits: GrammarLimits | None = None) -> BadRequest:
    """The error of a grammar that is refused."""
    try:
        asyncio.run((new_compiler(limits) if limits else compiler()).compile(spec, param="p"))
    except BadRequest as error:
        return error
    raise AssertionError(f"{spec} is compiled")


def mask_words(mask: GrammarMask) -> MaskWords:
    [words] = GrammarMask.allowed_of([mask])
    if isinstance(words, Exception):
        raise words
    assert words is not None
    return words


def allowed_ids(mask: GrammarMask) -> list[int]:
    return [int(i) for i in np.flatnonzero(flags_of(mask_words(mask), VOCAB_SIZE))]


def walk(spec: Spec, seed: int, max_tokens: int) -> tuple[bytes, bool]:
    """Draw allowed ids at random. Return the text, and whether the grammar ended it."""
    mask, draw, text = compiled(spec).fork(), random.Random(seed), b""
    for _ in range(max_tokens):
        token_id = draw.choice(allowed_ids(mask))
        mask.accept(token_id)
        if token_id == EOS:
            return text, True
        text += tokenizer().token_bytes[token_id]
    return text, False


def accepts(spec: Spec, text: str) -> bool:
    """Return True if the grammar lets a reply be the ids of this text, and end there."""
    mask = compiled(spec).fork()
    for token_id in tokenizer().plain_ids(text):
        if token_id not in allowed_ids(mask):
            return False
        mask.accept(token_id)
    return EOS in allowed_ids(mask)
