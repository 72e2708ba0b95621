"""Baselines of the models on the held-out files: `xz -9e` and 5-grams of bytes and of tokens."""

import lzma
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from checkpoints.corpus import Document
from checkpoints.ngram import Keys, NGram, bits
from pararnn_core.training.chat_template import END_OF_TEXT
from pararnn_core.training.tokenizer import encode_source, token_id

ORDER = 5
BYTE_BOUNDARY = 256


def num_bytes(documents: Sequence[Document]) -> int:
    """Return the bytes of the texts in UTF-8."""
    return sum(len(document.text.encode()) for document in documents)


def xz_bits_per_byte(documents: Sequence[Document]) -> float:
    """Compress all files joined as one, which favours xz over file by file."""
    data = b"".join(document.text.encode() for document in documents)
    return 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)


def byte_ngram_bits_per_byte(training: Sequence[Document], held_out: Sequence[Document]) -> float:
    """Return the bits per byte of files predicted from an empty context, their ends included."""
    model = NGram([_bytes(d) for d in training], ORDER, BYTE_BOUNDARY + 1, BYTE_BOUNDARY)
    return sum(bits(model.probabilities(_bytes(d))) for d in held_out) / num_bytes(held_out)


def token_ngram_bits_per_byte(
    tokenizer: Tokenizer, training: Sequence[Document], held_out: Sequence[Document]
) -> float:
    """Return the same as byte_ngram_bits_per_byte, over the models' tokens."""
    boundary = token_id(tokenizer, END_OF_TEXT)
    model = NGram(_tokens(tokenizer, training, boundary), ORDER, tokenizer.get_vocab_size(), boundary)
    files = _tokens(tokenizer, held_out, boundary)
    return sum(bits(model.probabilities(ids)) for ids in files) / num_bytes(held_out)


def _bytes(document: Document) -> Keys:
    return np.array([*document.text.encode(), BYTE_BOUNDARY], np.int64)


def _tokens(tokenizer: Tokenizer, documents: Sequence[Document], boundary: int) -> list[Keys]:
    encoded = encode_source(tokenizer, [document.text for document in documents])
    return [np.array([*ids, boundary], np.int64) for ids in encoded]
