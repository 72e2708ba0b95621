"""One layer of the model on a device: from the residual stream to the residual stream, states in place.

T rows of a step, S sequences, d = D channels, H heads, K convolution width. All but products is float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.cells import ParaLSTM
from pararnn_core.device.matrix import DeviceMatrix
from pararnn_core.device.plan import StepInputs
from pararnn_core.layers import Block

Recurrence = Callable[
    [str, Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor
]
"""(cell, bx (T, 3, D), a, c, cu_seqlens, slots, has_initial_state, state, bias) -> y, as ops.recurrence_."""

Mark = Callable[[str], None]
"""Told the name of each stage, of ops.STEP_STAGES, when the next one begins."""


def vector(parameter: Tensor) -> Tensor:
    """A parameter that is no matrix, as arithmetic takes it."""
    return parameter.detach().float().contiguous()


class DeviceLayer:
    """The matrices are those of the block, the rest float32 copies."""

    def __init__(self, block: Block) -> None:
        cell, mlp, config = block.cell, block.mlp, block.config
        self._config = config
        self._norm = vector(block.norm.weight)
        self._in_proj = DeviceMatrix(block.in_proj.weight)
        self._conv_taps = vector(block.conv.weight.T)
        self._conv_bias = vector(block.conv.bias)
        self._cell_input = DeviceMatrix(cell.B, cell.num_heads)
        self._cell_bias = vector(cell.b).view(cell.num_gates, cell.num_heads, -1)
        self._a = vector(cell.A)
        self._c = vector(cell.C) if isinstance(cell, ParaLSTM) else None
        self._gate_norm = vector(block.gate_norm.weight)
        self._out_proj = DeviceMatrix(block.out_proj.weight)
        self._residual_scale = None if block.residual_scale is None else vector(block.residual_scale)
        self._mlp_norm = vector(block.mlp_norm.weight)
        self._gate_proj = DeviceMatrix(mlp.gate_proj.weight)
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
        step: StepInputs,
        conv_state: Tensor,
        cell_state: Tensor,
        recurrence: Recurrence,
        mark: Mark,
        kept: Tensor | None = None,
    ) -> Tensor:
        """x (T, d) -> (T, d), or the rows in `kept`. conv_state (slots, K-1, D); cell_state (slots, N, D)."""
        config = self._config
        mark("norms")
        u = rms_norm(x, self._norm, config.norm_eps)
        mark("in_proj")
        v, g = self._in_proj.product(u).chunk(2, dim=-1)
        mark("convolution")
        v = self._convolve(v, step, conv_state)
        mark("cell input")
        bx = self._input(v)
        mark("recurrence")
        held = (step.cu_seqlens, step.slots, step.has_initial_state)
        y = recurrence(config.cell, bx, self._a, self._c, *held, cell_state, None)
        if kept is not None:
            x, y, g = x[kept], y[kept], g[kept]
        mark("gate")
        gated = self._gate(y, g)
        mark("out_proj")
        mixed = self._out_proj.product(gated)
        mark("residuals")
        x = x + mixed if self._residual_scale is None else torch.addcmul(mixed, x, self._residual_scale)
        update = self._mlp(x, mark)
        mark("residuals")
        return x + update if config.mlp_residual else update

    def _convolve(self, v: Tensor, step: StepInputs, conv_state: Tensor) -> Tensor:
        """v (T, D), rounded as the state is -> (T, D); the state becomes the tails."""
        past = conv_state.index_select(0, step.homes)
        past = torch.where(step.has_initial_state[:, None, None], past, 0.0)
        window = torch.cat((v.to(conv_state.dtype), past.flatten(0, 1)))
        conv_state.index_copy_(0, step.homes, window[step.tails])
        out = self._conv_bias.expand_as(v)
        for rows, weight in zip(step.taps, self._conv_taps, strict=True):
            out = torch.addcmul(out, window[rows].float(), weight)
        return F.silu(out) if self._config.conv_activation == "silu" else out

    def _input(self, v: Tensor) -> Tensor:
        """v (T, D) -> bx (T, 3, D): the sum with the bias lays the heads' rows out."""
        gates, heads, _ = self._cell_bias.shape
        by_head = self._cell_input.product_by_head(v).view(heads, len(v), gates, -1)
        bx = v.new_empty(len(v), *self._cell_bias.shape)
        torch.add(by_head.permute(1, 2, 0, 3), self._cell_bias, out=bx)
        return bx.flatten(2)

    def _gate(self, y: Tensor, g: Tensor) -> Tensor:
        eps = self._config.norm_eps
        if self._config.gate_order == "gate_then_norm":
            return rms_norm(y * F.silu(g), self._gate_norm, eps)
        return rms_norm(y, self._gate_norm, eps) * F.silu(g)

    def _mlp(self, x: Tensor, mark: Mark) -> Tensor:
        mark("norms")
        n = rms_norm(x, self._mlp_norm, self._config.norm_eps)
        mark("gate_proj, up_proj")
        gate, up = self._gate_proj.product(n), self._up_proj.product(n)
        mark("silu, product")
        inner = F.silu(gate) * up
        mark("down_proj")
        return self._down_proj.product(inner)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (T, d), weight (d,), float32."""
    return F.rms_norm(x, weight.shape, weight, eps)
