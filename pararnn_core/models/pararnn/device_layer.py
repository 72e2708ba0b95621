"""One layer of the model on a device. It updates the residual stream, and states in place.

T rows of a step, S sequences, d = D channels, H heads, K taps of the convolution. Rows that enter and leave
products are narrow (see matrix.py); the residual stream, states and all arithmetic are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.cells import Cell
from pararnn_core.device.matrix import DeviceMatrix
from pararnn_core.device.plan import StepInputs
from pararnn_core.device.rows import RowOperations
from pararnn_core.device.solvers import Recurrence
from pararnn_core.models.pararnn.layer_tensors import LAYER, MATRICES_OF_A_LAYER, LayerTensor
from pararnn_core.models.pararnn.layers import Block

Mark = Callable[[str], None]
"""A function that is called with the name of each stage, from ops.STEP_STAGES, when it begins."""


class Norm(NamedTuple):
    """An RMSNorm of the residual stream. weight: (d,) float32; dtype: type of its result."""

    weight: Tensor
    dtype: torch.dtype


def vector(parameter: Tensor) -> Tensor:
    """Return a vector parameter as contiguous float32, without a gradient."""
    return parameter.detach().float().contiguous()


def _device_matrix(block: Block, name: str) -> DeviceMatrix:
    path, _, leaf = name.rpartition(".")
    module = block.get_submodule(path)
    by_head = (module.num_heads, module.num_gates) if isinstance(module, Cell) else (1, 1)
    return DeviceMatrix(getattr(module, leaf), *by_head)


def _vector_of(block: Block, tensor: LayerTensor) -> Tensor | None:
    """Return a layer's vector in the layout of native code; None if the layer has no such tensor."""
    path, _, leaf = tensor.name.rpartition(".")
    parameter = getattr(block.get_submodule(path), leaf, None)
    if parameter is None:
        return None
    return vector(parameter.T if tensor.is_transposed else parameter)


class DeviceLayer:
    """A layer that shares the matrices of a block and has float32 copies of its vectors."""

    def __init__(self, block: Block, rows: RowOperations) -> None:
        config = block.config
        self._config = config
        self._rows = rows
        self._matrices = {name: _device_matrix(block, name) for name in MATRICES_OF_A_LAYER}
        vectors = {tensor.name: _vector_of(block, tensor) for tensor in LAYER if not tensor.is_matrix}
        self._vectors = {name: found for name, found in vectors.items() if found is not None}
        # A norm writes rows for a product, so its result has the narrow type of that product.
        self.norm = Norm(self._vectors["norm.weight"], self._matrices["in_proj.weight"].narrow)
        self._mlp_norm = Norm(self._vectors["mlp_norm.weight"], self._matrices["mlp.gate_proj.weight"].narrow)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return sum(matrix.nbytes for matrix in self._matrices.values())

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
        """Run the layer; return x and its norm by `following`, the norm of the next layer.

        x: (T, d) float32, changed in place; u: `norm` of x; conv_state: (slots, K-1, D)
        cell_state: (slots, N, D); kept: rows that the part after the recurrence computes; None: all
        """
        config, rows, eps = self._config, self._rows, self._config.norm_eps
        y, g = self._recur(u, step, conv_state, cell_state, recurrence, mark)
        # The recurrence needs all rows; after it only those of logits and final states count.
        if kept is not None:
            x, y, g = x[kept], y[kept], g[kept]
        mark("gate")
        gated = rows.gated_rms_norm(y, g, self._vectors["gate_norm.weight"], eps, config.gate_order)
        mark("out_proj")
        mixed = self._matrices["out_proj.weight"].product(gated)
        mark("residuals")
        n = rows.add_rms_norm_(
            x, mixed, self._vectors.get("residual_scale"), self._mlp_norm.weight, eps, self._mlp_norm.dtype
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
        """Return the cell's y (T, D) float32 and its gate g (T, D) narrow. u: (T, d) narrow."""
        held = (step.cu_seqlens, step.slots, step.has_initial_state)
        mark("in_proj")
        v, g = self._matrices["in_proj.weight"].product(u).chunk(2, dim=-1)
        mark("convolution")
        # The vector is stored transposed, as the kernel reads it; the view has the operation's shape.
        taps, bias = self._vectors["conv.weight"].T, self._vectors["conv.bias"]
        v = self._rows.causal_conv1d_(v, taps, bias, self._config.conv_activation, *held, conv_state)
        mark("cell input")
        bx = self._matrices["cell.B"].product_by_head(v)
        mark("recurrence")
        a, c, bias = self._vectors["cell.A"], self._vectors.get("cell.C"), self._vectors["cell.b"]
        return recurrence(self._config.cell, bx, a, c, *held, cell_state, bias), g

    def _mlp(self, n: Tensor, mark: Mark) -> Tensor:
        """Return the MLP of n (T, d), both narrow."""
        mark("gate_proj, up_proj")
        gate = self._matrices["mlp.gate_proj.weight"].product(n)
        up = self._matrices["mlp.up_proj.weight"].product(n)
        mark("silu, product")
        inner = self._rows.silu_mul(gate, up)
        mark("down_proj")
        return self._matrices["mlp.down_proj.weight"].product(inner)
