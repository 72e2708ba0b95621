"""The inputs of each matrix on a calibration text, while the model is being quantised layer by layer.

W windows of T tokens, H heads, I inputs of a matrix, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pararnn_core.weights.quantized_matrix import group_slices, quantize_activations

WINDOW = 512
MAX_WINDOWS = 128
# Tokens that pass through a layer at once. The number bounds the memory.
_BATCH_TOKENS = 4096


def calibration_windows(
    documents: Iterable[Sequence[int]], count: int = MAX_WINDOWS, length: int = WINDOW
) -> Tensor:
    """Draw at most `count` windows (W, T) of the joined documents, with equal probability.

    documents: token ids, read once; only the windows are kept
    The same documents give the same windows. A text shorter than a window is one shorter window. Raises
    ValueError if there is no token.
    """
    random, kept, window = Random(0), list[list[int]](), list[int]()
    seen = 0
    for token in chain.from_iterable(documents):
        window.append(token)
        if len(window) < length:
            continue
        # Reservoir sampling: the text is read once, and its length is not known before.
        place = seen if seen < count else random.randrange(seen + 1)
        if place < count:
            kept[place : place + 1] = [window]
        window, seen = [], seen + 1
    if not kept and not window:
        raise ValueError("the calibration text is empty")
    return torch.tensor(kept or [window])


class Calibration:
    """The residual stream between two layers, for every window: W * T * d float32.

    A layer may have float matrices with the values of quantised ones, whose inputs `rounding_inputs` rounds.
    That is the integer product except for the order of a library's sums, and many times as fast.
    """

    def __init__(self, windows: Tensor, embedding: nn.Module) -> None:
        """windows: (W, T) int64; embedding: the module that maps tokens to the stream."""
        self._stream = [embedding(tokens) for tokens in batches(windows)]

    def inputs_of(self, module: nn.Module, within: Callable[[Tensor], object]) -> Iterator[Tensor]:
        """Yield the inputs of `module` when `within` runs on the stream. The rest of `within` is not run."""
        for x in self._stream:
            yield _argument(module, within, x)

    def advance(self, block: Callable[[Tensor], Tensor]) -> None:
        """Run a layer, so that the stream is that after it."""
        for i, x in enumerate(self._stream):
            self._stream[i] = block(x)


def batches(windows: Tensor) -> tuple[Tensor, ...]:
    """Split windows (W, T) into batches of bounded size."""
    return torch.split(windows, max(1, _BATCH_TOKENS // windows.shape[1]))


def sum_of_squares(inputs: Iterable[Tensor], heads: int, group_size: int) -> Tensor:
    """Return the sum of x x^T over the rows x of the inputs, rounded as in a product.

    inputs: (..., H * I) each; the result is (H, I, I) float64
    """
    total: Tensor | None = None
    for x in inputs:
        rounded = _as_multiplied(x.flatten(0, -2), heads, group_size)
        rows = rounded.view(len(rounded), heads, -1).transpose(0, 1)
        part = (rows.mT @ rows).double()
        total = part if total is None else total.add_(part)
    if total is None:
        raise ValueError("inputs: there are none")
    return total


def rounding_inputs(module: nn.Module, heads: int, group_size: int) -> RemovableHandle:
    """Round the first argument of `module` as a quantised matrix does, until the returned hook is removed."""

    def as_multiplied(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # A cell also gets the state that it starts from, or None.
        x, *others = arguments
        return (_as_multiplied(x.flatten(0, -2), heads, group_size).view_as(x), *others)

    return module.register_forward_pre_hook(as_multiplied)


class _Reached(Exception):
    """An exception that carries the argument of a module out of a forward pass."""

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
    raise ValueError("module: the forward pass does not call it")


def _as_multiplied(x: Tensor, heads: int, group_size: int) -> Tensor:
    """Return x (N, H * I), rounded by row and by group of each head."""
    parts = []
    for head in x.float().chunk(heads, dim=1):
        for inputs in group_slices(head.shape[1], group_size):
            q, scale = quantize_activations(head[:, inputs])
            parts.append(q * scale)
    return torch.cat(parts, dim=1)
