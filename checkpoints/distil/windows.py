"""Batches of windows, half chat and half prose, in an order that the step alone decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from checkpoints.distil.token_streams import KINDS, Stream, Streams

SHORT = 256
LONG = 1024
LONG_EVERY = 4


def window_starts(stream: Stream, length: int) -> npt.NDArray[np.int64]:
    """Places of windows that cover the stream.

    A short document that a window would cut starts the next window again, so that each is seen whole once.
    """
    starts: list[int] = []
    place = 0
    while place + length + 1 <= len(stream.ids):
        starts.append(place)
        end = place + length
        index = int(np.searchsorted(stream.starts, end, side="right")) - 1
        first = int(stream.starts[index])
        next_one = int(stream.starts[index + 1]) if index + 1 < len(stream.starts) else len(stream.ids)
        whole_again = place < first and next_one - first <= length
        place = first if whole_again else end
    return np.array(starts, dtype=np.int64)


@dataclass(frozen=True)
class Batch:
    """inputs and targets, (B, T) int64."""

    inputs: Tensor
    targets: Tensor


class Windows:
    """Draws every window of a stream once before any a second time."""

    def __init__(self, stream: Stream, length: int, seed: int) -> None:
        self.stream, self.length, self.seed = stream, length, seed
        self.starts = window_starts(stream, length)
        if not len(self.starts):
            raise ValueError(f"a stream of {len(stream.ids)} tokens has no window of {length}")
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def rows(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Windows first to first + count of the endless order, (count, length + 1)."""
        return np.stack([self._row(number) for number in range(first, first + count)])

    def _row(self, number: int) -> npt.NDArray[np.int64]:
        epoch, place = divmod(number, len(self.starts))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.starts))
        start = int(self.starts[self._order[place]])
        return self.stream.ids[start : start + self.length + 1].astype(np.int64)


class TrainingBatches:
    """Batches of tokens_per_step tokens; every LONG_EVERY-th step has long windows, the others short ones."""

    def __init__(
        self, streams: Streams, tokens_per_step: int, seed: int, short: int = SHORT, long: int = LONG
    ) -> None:
        self.short, self.long = (
            [Windows(streams[f"training-{kind}"], length, seed) for kind in KINDS] for length in (short, long)
        )
        self.tokens_per_step = tokens_per_step

    def batch(self, step: int) -> Batch:
        """Return the batch of this step, a function of the step alone."""
        is_long = step % LONG_EVERY == LONG_EVERY - 1
        windows = self.long if is_long else self.short
        each = self.tokens_per_step // windows[0].length // len(windows)
        done = step // LONG_EVERY if is_long else step - step // LONG_EVERY
        return batch_of(np.concatenate([w.rows(done * each, each) for w in windows]))


def batch_of(rows: npt.NDArray[np.int64]) -> Batch:
    """rows: (B, T + 1)."""
    return Batch(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy()))
