"""The training stream as token ids, cut into windows: a batch is a pure function of its step number."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from checkpoints.build_tokenizer import encode_chat, encode_source, token_id
from checkpoints.chat_corpus import chat_texts
from checkpoints.chat_template import END_OF_TEXT
from checkpoints.corpus import Document

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


class Windows:
    """Windows of seq_len + 1 tokens of the joined documents. Each epoch shuffles documents and windows.

    Raises ValueError if the documents are too short for one window.
    """

    def __init__(self, documents: Sequence[Ids], seq_len: int, seed: int) -> None:
        self.documents = list(documents)
        self.seq_len = seq_len
        self.seed = seed
        self.num_tokens = sum(len(ids) for ids in documents)
        self.windows_per_epoch = (self.num_tokens - 1) // seq_len - 1
        if self.windows_per_epoch < 1:
            raise ValueError(f"{self.num_tokens} tokens are too few for seq_len {seq_len}: use a shorter one")
        self._epoch = -1
        self._stream = np.empty(0, np.uint16)
        self._order = np.empty(0, np.int64)

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Return (inputs, targets), each (size, seq_len) int64, targets one token later."""
        rows = np.stack([self._window(step * size + row) for row in range(size)]).astype(np.int64)
        return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])

    def _window(self, index: int) -> Ids:
        epoch, position = divmod(index, self.windows_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        start = self._order[position]
        return self._stream[start : start + self.seq_len + 1]

    def _shuffle(self, epoch: int) -> None:
        random = np.random.default_rng([self.seed, epoch])
        self._stream = np.concatenate([self.documents[i] for i in random.permutation(len(self.documents))])
        offset = int(random.integers(self.seq_len))
        self._order = offset + self.seq_len * random.permutation(self.windows_per_epoch)
        self._epoch = epoch
