"""Packed sequences of different lengths: validation of cu_seqlens, and tokens grouped into tiles of time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor


def check_cu_seqlens(cu_seqlens: Tensor, num_tokens: int) -> None:
    """Raise ValueError unless cu_seqlens is (S+1,) int32, starts at 0, never falls and ends at num_tokens.

    A repeated value is a sequence without tokens.
    """
    if cu_seqlens.dtype != torch.int32:
        raise ValueError(f"cu_seqlens: expected dtype int32, got {cu_seqlens.dtype}")
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() == 0:
        raise ValueError(f"cu_seqlens: expected shape (sequences + 1,), got {tuple(cu_seqlens.shape)}")
    bounds = cu_seqlens.tolist()
    if bounds[0] != 0:
        raise ValueError(f"cu_seqlens: must start at 0, starts at {bounds[0]}")
    if any(later < earlier for earlier, later in itertools.pairwise(bounds)):
        raise ValueError(f"cu_seqlens: must never fall, got {bounds}")
    if bounds[-1] != num_tokens:
        raise ValueError(f"cu_seqlens: must end at the number of tokens {num_tokens}, ends at {bounds[-1]}")


def equal_cu_seqlens(batch: int, length: int, device: torch.device) -> Tensor:
    """Return cu_seqlens (batch+1,) int32 of `batch` sequences of `length` tokens each."""
    return torch.arange(batch + 1, dtype=torch.int32, device=device) * length


@dataclass(frozen=True)
class Tile:
    """Tokens of one span of time, sequence after sequence, for the sequences that reach it.

    rows: (n,) int64, the index of each token in the packed batch
    starts: (n,) bool, the first token of each sequence in this tile
    first, last: (active,) int64, positions within the tile of each sequence's first and last token
    """

    rows: Tensor
    starts: Tensor
    first: Tensor
    last: Tensor

    @property
    def active(self) -> int:
        """Number of sequences in this tile: the longest ones, in the order of TimeTiles.by_length."""
        return self.first.shape[0]


@dataclass(frozen=True)
class TimeTiles:
    """A packed batch cut into tiles of at most `span` steps of every sequence.

    by_length: (S,) int64, sequences from the longest to the shortest, so those that reach a tile are a prefix
    order: (T,) int64, packed rows sorted by tile, then by place in by_length, then by time
    starts: (T,) bool, in that order
    first, last: int64, those of all tiles one after the other
    tokens, active: per tile, how many tokens and how many sequences
    """

    by_length: Tensor
    order: Tensor
    starts: Tensor
    first: Tensor
    last: Tensor
    tokens: list[int]
    active: list[int]

    def tiles(self) -> list[Tile]:
        """Return the tiles in order of time, without waiting for a device. They are views of this object."""
        by_token = (torch.split(each, self.tokens) for each in (self.order, self.starts))
        by_sequence = (torch.split(each, self.active) for each in (self.first, self.last))
        return [Tile(*parts) for parts in zip(*by_token, *by_sequence, strict=True)]


def time_tiles(cu_seqlens: Tensor, span: int) -> TimeTiles:
    """Cut a packed batch into tiles. cu_seqlens: (S+1,) int32, checked; span: steps in a tile, at least 1."""
    device = cu_seqlens.device
    # All indices are made on the host, so there is one wait for the device for all tiles.
    bounds = cu_seqlens.cpu().long()
    lengths = bounds.diff()
    by_length = lengths.argsort(descending=True, stable=True)
    place = by_length.argsort()
    position = torch.arange(int(bounds[-1])) - bounds[:-1].repeat_interleave(lengths)
    tile = position // span
    order = (tile * max(lengths.numel(), 1) + place.repeat_interleave(lengths)).argsort(stable=True)
    starts = position % span == 0
    tokens, active = tile.bincount(), tile[starts].bincount()
    ends = tokens.cumsum(0).repeat_interleave(active)
    # These are positions among all tokens; below, the tile's begin is subtracted.
    first = starts[order].nonzero().squeeze(1)
    after = torch.cat((first[1:], ends[-1:]))
    begin = (tokens.cumsum(0) - tokens).repeat_interleave(active)
    return TimeTiles(
        by_length=by_length.to(device),
        order=order.to(device),
        starts=starts[order].to(device),
        first=(first - begin).to(device),
        last=(after - 1 - begin).to(device),
        tokens=tokens.tolist(),
        active=active.tolist(),
    )
