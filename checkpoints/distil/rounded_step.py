"""Rounded mixers in a training step, so that they learn to make up for the rounding of a 4-bit checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pararnn_core.assemble.mixers_file import format_of
from pararnn_core.models.pararnn.quantization_config import MATRICES_OF_A_LAYER
from pararnn_core.quantize.quantize_model import as_rows, from_rows
from pararnn_core.quantize.quantize_round import group_scales, rounded
from pararnn_core.weights.quantized_matrix import expand_scales

# A search for scales takes as long as ten steps, and the weights move little in 200.
SEARCH_EVERY = 200

Scales = Mapping[str, Tensor]


class RoundedStep:
    """Replaces the matrices of mixers by their rounded values during a step.

    The gradients are those at the rounded values, and the optimiser applies them to the exact ones.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._matrices = {n: p for n, p in parameters.items() if n.endswith(MATRICES_OF_A_LAYER)}
        self._scales: Scales = {}
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs."""
        return {"scales": dict(self._scales), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._scales, self._steps = state["scales"], state["steps"]

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Round within this context, by scales that are searched anew every SEARCH_EVERY times."""
        if self._steps % SEARCH_EVERY == 0:
            self._scales = self._searched()
        self._steps += 1
        with self._replaced(self._scales):
            yield

    @contextmanager
    def in_measurement(self) -> Iterator[None]:
        """Round within this context, by the best scales of the current weights."""
        with self._replaced(self._searched()):
            yield

    def _searched(self) -> Scales:
        return {name: group_scales(as_rows(p.data), format_of(name)) for name, p in self._matrices.items()}

    @contextmanager
    def _replaced(self, scales: Scales) -> Iterator[None]:
        exact = {name: parameter.data for name, parameter in self._matrices.items()}
        try:
            for name, parameter in self._matrices.items():
                parameter.data = _rounded(name, exact[name], scales[name])
            yield
        finally:
            for name, parameter in self._matrices.items():
                parameter.data = exact[name]


def _rounded(name: str, weight: Tensor, scales: Tensor) -> Tensor:
    rows, matrix_format = as_rows(weight), format_of(name)
    each = expand_scales(scales, matrix_format.group_size, rows.shape[1])
    values = rounded(rows, each, matrix_format.bits).mul_(each)
    return from_rows(values, torch.Size(weight.shape)).contiguous()
