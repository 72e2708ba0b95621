"""One layer of the model on a device: from the residual stream to the residual stream, states in place.

T rows of a step, S sequences, d = D channels, H heads, K convolution width. Products take and give narrow
rows (see matrix.py); the residual stream, states and all arithmetic are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.device.matrix import DeviceMatrix
from pararnn_core.device.plan import StepInputs
from pararnn_core.device.rows import RowOperations
from pararnn_core.layers import Block

Recurrence = Callable[
    [str, Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor
]
"""(cell, bx (T, G, D), a, c, cu_seqlens, slots, has_initial_state, state, bias) -> y, as ops.recurrence_."""

Mark = Callable[[str], None]
"""Told the name of each stage, of ops.STEP_STAGES, when the next one begins."""


class Norm(NamedTuple):
    """An RMSNorm of the residual stream: its weight (d,) float32 and the type that it rounds to."""

    weight: Tensor
    dtype: torch.dtype


def vector(parameter: Tensor) -> Tensor:
    """A parameter that is no matrix, as arithmetic takes it."""
    return parameter.detach().float().contiguous()


class DeviceLayer:
    """The matrices are those of the block, the rest float32 copies."""

    def __init__(self, block: Block, rows: RowOperations) -> None:
        cell, mlp, config = block.cell, block.mlp, block.config
        self._config = config
        self._rows = rows
        self._in_proj = DeviceMatrix(block.in_proj.weight)
        self.norm = Norm(vector(block.norm.weight), self._in_proj.narrow)
        self._conv_taps = vector(block.conv.weight.T)
        self._conv_bias = vector(block.conv.bias)
        self._cell_input = DeviceMatrix(cell.B, cell.num_heads, cell.num_gates)
        self._cell_bias = vector(cell.b)
        self._a = vector(cell.A)
        self._c = vector(cell.get_parameter("C")) if cell.num_peepholes else None
        self._gate_norm = vector(block.gate_norm.weight)
        self._out_proj = DeviceMatrix(block.out_proj.weight)
        self._residual_scale = None if block.residual_scale is None else vector(block.residual_scale)
        self._gate_proj = DeviceMatrix(mlp.gate_proj.weight)
        self._mlp_norm = Norm(vector(block.mlp_norm.weight), self._gate_proj.narrow)
        self._up_proj = DeviceMatrix(mlp.up_proj.weight)
        self._down_proj = DeviceMatrix(mlp.down_proj.weight)

    @property
    def nbytes(self) -> int:
        """Of the matrices."""
        matrices = (self._in_proj, self._cell_input, self._out_proj)
        return sum(m.nbytes for m in (*matrices, self._gate_proj, self._up_proj, self._down_proj))

    def forward(
        self,
        x: Tensor,
        u: Tensor,
        step: StepInputs,
        conv_state: Tensor,
        cell_state: Tensor,
        recurrence: Recurrence,
        mark: Mark,
        following: Norm,
        kept: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x (T, d) float32, changed in place, and u, `norm` of it -> x, and `following` of it.

        kept: rows that are gone on with once the recurrence is done, as copies; None: all.
        conv_state (slots, K-1, D); cell_state (slots, N, D)
        """
        config, rows, eps = self._config, self._rows, self._config.norm_eps
        y, g = self._recur(u, step, conv_state, cell_state, recurrence, mark)
        if kept is not None:
            x, y, g = x[kept], y[kept], g[kept]
        mark("gate")
        gated = rows.gated_rms_norm(y, g, self._gate_norm, eps, config.gate_order)
        mark("out_proj")
        mixed = self._out_proj.product(gated)
        mark("residuals")
        n = rows.add_rms_norm_(
            x, mixed, self._residual_scale, self._mlp_norm.weight, eps, self._mlp_norm.dtype
        )
        update = self._mlp(n, mark)
        mark("residuals")
        replaces = not config.mlp_residual
        return x, rows.add_rms_norm_(x, update, None, following.weight, eps, following.dtype, replaces)

    def _recur(
        self,
        u: Tensor,
        step: StepInputs,
        conv_state: Tensor,
        cell_state: Tensor,
        recurrence: Recurrence,
        mark: Mark,
    ) -> tuple[Tensor, Tensor]:
        """u (T, d) narrow -> y (T, D) float32 of the cell, and g (T, D) narrow, its gate."""
        held = (step.cu_seqlens, step.slots, step.has_initial_state)
        mark("in_proj")
        v, g = self._in_proj.product(u).chunk(2, dim=-1)
        mark("convolution")
        activation = self._config.conv_activation
        v = self._rows.causal_conv1d_(v, self._conv_taps.T, self._conv_bias, activation, *held, conv_state)
        mark("cell input")
        bx = self._cell_input.product_by_head(v)
        mark("recurrence")
        return recurrence(self._config.cell, bx, self._a, self._c, *held, cell_state, self._cell_bias), g

    def _mlp(self, n: Tensor, mark: Mark) -> Tensor:
        """n (T, d) narrow -> (T, d) narrow."""
        mark("gate_proj, up_proj")
        gate, up = self._gate_proj.product(n), self._up_proj.product(n)
        mark("silu, product")
        inner = self._rows.silu_mul(gate, up)
        mark("down_proj")
        return self._down_proj.product(inner)
