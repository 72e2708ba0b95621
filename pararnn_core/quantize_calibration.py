"""Calibration text on its way through a model that is being quantised: what each matrix really multiplies.

W windows of T tokens, H heads, I inputs of a matrix, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from pararnn_core.quantized_matrix import group_slices, quantize_activations

WINDOW = 512
MAX_WINDOWS = 256
# Tokens that go through a layer at once.
_BATCH_TOKENS = 4096


def calibration_windows(
    documents: Iterable[Sequence[int]], count: int = MAX_WINDOWS, length: int = WINDOW
) -> Tensor:
    """At most `count` windows (W, T) of the joined documents, each as likely as any other.

    documents: token ids; read once, only the windows are kept. The same documents give the same windows. A
    text shorter than one window is a shorter window; ValueError if it has no token at all.
    """
    random, kept, window = Random(0), list[list[int]](), list[int]()
    seen = 0
    for token in chain.from_iterable(documents):
        window.append(token)
        if len(window) < length:
            continue
        place = seen if seen < count else random.randrange(seen + 1)
        if place < count:
            kept[place : place + 1] = [window]
        window, seen = [], seen + 1
    if not kept and not window:
        raise ValueError("the calibration text is empty")
    return torch.tensor(kept or [window])


class Calibration:
    """The stream between two layers, for every window: W * T * d float32 are all that is kept of the text."""

    def __init__(self, windows: Tensor, embedding: nn.Module) -> None:
        """windows: (W, T) int64; embedding: what they go through first."""
        self._stream = [embedding(tokens) for tokens in batches(windows)]

    def inputs_of(self, module: nn.Module, within: Callable[[Tensor], object]) -> Iterator[Tensor]:
        """What reaches `module` when `within` is run on the stream; what would come after it is not run."""
        for x in self._stream:
            yield _argument(module, within, x)

    def advance(self, block: Callable[[Tensor], Tensor]) -> None:
        """To the other side of a layer."""
        for i, x in enumerate(self._stream):
            self._stream[i] = block(x)


def batches(windows: Tensor) -> tuple[Tensor, ...]:
    """Windows (W, T), some at a time."""
    return torch.split(windows, max(1, _BATCH_TOKENS // windows.shape[1]))


def sum_of_squares(inputs: Iterable[Tensor], heads: int, group_size: int) -> Tensor:
    """inputs (..., H * I) -> (H, I, I) float64, the sum of x x^T over their rows, rounded as in a product."""
    total: Tensor | None = None
    for x in inputs:
        by_head = x.flatten(0, -2).chunk(heads, dim=1)
        rows = torch.stack([_as_multiplied(each, group_size) for each in by_head])
        part = (rows.mT @ rows).double()
        total = part if total is None else total.add_(part)
    if total is None:
        raise ValueError("inputs: there are none")
    return total


class _Reached(Exception):
    """Carries the argument out of a forward pass whose rest is of no interest."""

    def __init__(self, x: Tensor) -> None:
        self.x = x


def _argument(module: nn.Module, within: Callable[[Tensor], object], batch: Tensor) -> Tensor:
    def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise _Reached(arguments[0])

    hook = module.register_forward_pre_hook(stop)
    try:
        within(batch)
    except _Reached as reached:
        return reached.x
    finally:
        hook.remove()
    raise ValueError("module: a pass does not reach it")


def _as_multiplied(x: Tensor, group_size: int) -> Tensor:
    """x: (N, I), as the product of a quantised matrix sees it: rounded by row and group."""
    x = x.contiguous().float()
    rounded = (quantize_activations(x[:, inputs]) for inputs in group_slices(x.shape[1], group_size))
    return torch.cat([q * scale for q, scale in rounded], dim=1)
