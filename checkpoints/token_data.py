"""The corpus as token ids: source files, and chats made from them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from checkpoints.chat_corpus import chat_texts
from checkpoints.corpus import Document
from pararnn_core.training.chat_template import END_OF_TEXT
from pararnn_core.training.tokenizer import encode_chat, encode_source, token_id

# Source bytes divided by this are the bytes of chats, about 10 % of all tokens.
CHAT_BYTES_DIVISOR = 9

Ids = NDArray[np.uint16]


def encode_documents(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[Ids]:
    """Return one array per document, each with the end-of-text token first."""
    start = token_id(tokenizer, END_OF_TEXT)
    encoded = encode_source(tokenizer, [document.text for document in documents])
    return [np.array([start, *ids], np.uint16) for ids in encoded]


def encode_training(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[Ids]:
    """Return the training documents, then the chat examples made from them."""
    size = sum(len(d.text.encode()) for d in documents)
    chats = encode_chat(tokenizer, chat_texts(documents, size // CHAT_BYTES_DIVISOR))
    return encode_documents(tokenizer, documents) + [np.array(ids, np.uint16) for ids in chats]
