"""The training stream cut into windows: a batch is a function of its number alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pararnn_core.training.token_file import Ids


class Windows:
    """Windows of seq_len + 1 tokens of a stream. Each epoch begins at another offset and shuffles them.

    Memory grows by 8 bytes a window. Raises ValueError if the stream is too short for one window.
    """

    def __init__(self, stream: Ids, seq_len: int, seed: int) -> None:
        self.stream, self.seq_len, self.seed = stream, seq_len, seed
        self.num_tokens = len(stream)
        self.windows_per_epoch = (self.num_tokens - 1) // seq_len - 1
        if self.windows_per_epoch < 1:
            raise ValueError(
                f"{self.num_tokens} tokens are too few for sequences of {seq_len}: "
                "give more text or a smaller --sequence-length"
            )
        self._epoch = -1
        self._starts = np.empty(0, np.int64)

    def batch(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Return (inputs, targets), each (size, seq_len) int64, targets one token later."""
        rows = np.stack([self._window(number * size + row) for row in range(size)]).astype(np.int64)
        return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])

    def _window(self, index: int) -> Ids:
        epoch, position = divmod(index, self.windows_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        start = self._starts[position]
        return self.stream[start : start + self.seq_len + 1]

    def _shuffle(self, epoch: int) -> None:
        random = np.random.default_rng([self.seed, epoch])
        offset = int(random.integers(self.seq_len))
        self._starts = offset + self.seq_len * random.permutation(self.windows_per_epoch)
        self._epoch = epoch
