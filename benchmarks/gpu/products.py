"""The matrix products of a prefill alone, to compare a whole prefill with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.pararnn.config import ModelConfig


class _Layer(NamedTuple):
    """The matrices of a layer, transposed for torch: (inputs, outputs); cell_input (H, I, 3 O)."""

    in_proj: Tensor
    cell_input: Tensor
    out_proj: Tensor
    gate_proj: Tensor
    up_proj: Tensor
    down_proj: Tensor


class ProductsAlone:
    """As many matrices as a model has, in the same shapes, so that no cache keeps them between layers.

    Rows and results have the type of the weights, the least traffic that is possible. Rows are random,
    because a chip makes less heat with zeros, and so is faster.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device, rows: int) -> None:
        """rows: most rows of a chunk."""
        self._heads = config.num_heads
        d, hidden, heads = config.hidden_size, config.mlp_hidden_size, config.num_heads
        self._rows = torch.empty(rows, d, dtype=dtype, device=device).normal_()

        def matrix(outputs: int, inputs: int) -> Tensor:
            return torch.empty(outputs, inputs, dtype=dtype, device=device).normal_(std=0.02).T

        def by_head() -> Tensor:
            size = (heads, d // heads, 3 * (d // heads))
            return torch.empty(size, dtype=dtype, device=device).normal_(std=0.02)

        self._layers = [
            _Layer(
                matrix(2 * d, d),
                by_head(),
                matrix(d, d),
                matrix(hidden, d),
                matrix(hidden, d),
                matrix(d, hidden),
            )
            for _ in range(config.num_hidden_layers)
        ]
        self._head = matrix(config.vocab_size, d)

    @torch.inference_mode()
    def prefill(self, tokens: int, chunk: int) -> None:
        """Run a prefill's products. After the last recurrence only the last row is needed."""
        for start in range(0, tokens, chunk):
            rows = min(chunk, tokens - start)
            for layer in self._layers[:-1]:
                self._layer(layer, rows, rows)
            self._layer(self._layers[-1], rows, 1)
            if start + rows == tokens:
                torch.mm(self._rows[:1], self._head)

    def _layer(self, layer: _Layer, rows: int, kept: int) -> None:
        x = self._rows[:rows]
        torch.mm(x, layer.in_proj)
        torch.bmm(x.view(rows, self._heads, -1).transpose(0, 1), layer.cell_input)
        x = x[:kept]
        torch.mm(x, layer.out_proj)
        torch.mm(x, layer.gate_proj)
        torch.mm(torch.mm(x, layer.up_proj), layer.down_proj)
