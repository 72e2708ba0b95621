"""One layer of the model on a device. It updates the residual stream, and states in place.

T rows of a step, S sequences, d = D channels, H heads, K taps of the convolution. Rows that enter and leave
products are narrow (see matrix.py); the residual stream, states and all arithmetic are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.cells import Cell
from pararnn_core.device.matrix import DeviceMatrix
from pararnn_core.device.plan import StepInputs
from pararnn_core.device.rows import RowOperations
from pararnn_core.device.solvers import Recurrence
from pararnn_core.models.pararnn.layer_tensors import LAYER, LayerTensor
from pararnn_core.models.pararnn.layers import Block
from pararnn_core.models.pararnn.packed import parameter_of

Mark = Callable[[str], None]
"""A function that is called with the name of each stage, from ops.STEP_STAGES, when it begins."""


class Norm(NamedTuple):
    """An RMSNorm of the residual stream. weight: (d,) float32, None: no norm; dtype: type of its result."""

    weight: Tensor | None
    dtype: torch.dtype

    def after_update(
        self,
        rows: RowOperations,
        x: Tensor,
        update: Tensor | None,
        scale: Tensor | None,
        eps: float,
        replaces: bool = False,
    ) -> Tensor:
        """Update x as ops.add_rms_norm_ does, and return its norm."""
        if self.weight is not None:
            return rows.add_rms_norm_(x, update, scale, self.weight, eps, self.dtype, replaces)
        if update is not None:
            x.copy_(update if replaces else update + (x if scale is None else scale * x))
        return x.to(self.dtype, copy=True)


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
    parameter = parameter_of(block, tensor.name)
    if parameter is None:
        return None
    return vector(parameter.T if tensor.is_transposed else parameter)


class DeviceLayer:
    """A layer that shares the matrices of a block and has float32 copies of its vectors."""

    def __init__(self, block: Block, rows: RowOperations) -> None:
        config = block.config
        self._config = config
        self._rows = rows
        self._matrices = {name: _device_matrix(block, name) for name in config.matrices_of_a_layer}
        vectors = {tensor.name: _vector_of(block, tensor) for tensor in LAYER if not tensor.is_matrix}
        self._vectors = {name: found for name, found in vectors.items() if found is not None}
        # A norm writes rows for a product, so its result has the narrow type of that product.
        first = self._matrices.get("in_proj.weight", self._matrices["cell.B"])
        self.norm = Norm(self._vectors.get("norm.weight"), first.narrow)
        self._has_mlp = "mlp.gate_proj.weight" in self._matrices
        if self._has_mlp:
            narrow = self._matrices["mlp.gate_proj.weight"].narrow
            self._mlp_norm = Norm(self._vectors.get("mlp_norm.weight"), narrow)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return sum(matrix.nbytes for matrix in self._matrices.values())

    def forward(
        self,
        x: Tensor,
        u: Tensor,
        step: StepInputs,
        conv_state: Tensor | None,
        cell_state: Tensor,
        recurrence: Recurrence,
        mark: Mark,
        following: Norm,
        kept: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the layer; return x and its norm by `following`, the norm of the next layer.

        x: (T, d) float32, changed in place; u: `norm` of x
        conv_state: (slots, K-1, D), None without a convolution
        cell_state: (slots, N, D); kept: rows that the part after the recurrence computes; None: all
        """
        config, rows, eps = self._config, self._rows, self._config.norm_eps
        y, g = self._recur(u, step, conv_state, cell_state, recurrence, mark)
        # The recurrence needs all rows; after it only those of logits and final states count.
        if kept is not None:
            x, y, g = x[kept], y[kept], None if g is None else g[kept]
        mark("gate")
        mixed = self._gate(y, g)
        mark("out_proj")
        if "out_proj.weight" in self._matrices:
            mixed = self._matrices["out_proj.weight"].product(mixed)
        mark("residuals")
        after_mixer = self._mlp_norm if self._has_mlp else following
        replaces = not config.mixer_residual
        n = after_mixer.after_update(rows, x, mixed, self._vectors.get("residual_scale"), eps, replaces)
        if not self._has_mlp:
            return x, n
        update = self._mlp(n, mark)
        mark("residuals")
        return x, following.after_update(rows, x, update, None, eps, not config.mlp_residual)

    def _gate(self, y: Tensor, g: Tensor | None) -> Tensor:
        """Return y (T, D) gated and normalised as the config says, in the type of the next product."""
        weight, eps = self._vectors.get("gate_norm.weight"), self._config.norm_eps
        if g is not None and weight is not None:
            return self._rows.gated_rms_norm(y, g, weight, eps, self._config.gate_order)
        if weight is not None:
            y = F.rms_norm(y, weight.shape, weight, eps)
        product = self._matrices.get("out_proj.weight")
        return y if product is None else y.to(product.narrow)

    def _recur(
        self,
        u: Tensor,
        step: StepInputs,
        conv_state: Tensor | None,
        cell_state: Tensor,
        recurrence: Recurrence,
        mark: Mark,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the cell's y (T, D) float32 and its gate g (T, D) narrow or None. u: (T, d) narrow."""
        held = (step.cu_seqlens, step.slots, step.has_initial_state)
        mark("in_proj")
        v = self._matrices["in_proj.weight"].product(u) if self._config.projections else u
        v, g = v.chunk(2, dim=-1) if self._config.has_gate else (v, None)
        mark("convolution")
        if conv_state is not None:
            # The vector is stored transposed, as the kernel reads it; the view has the operation's shape.
            taps, bias = self._vectors["conv.weight"].T, self._vectors["conv.bias"]
            v = self._rows.causal_conv1d_(v, taps, bias, self._config.conv_activation, *held, conv_state)
        mark("cell input")
        bx = self._matrices["cell.B"].product_by_head(v.contiguous())
        mark("recurrence")
        bias = self._vectors["cell.b"]
        # A kernel takes rows of a, so a cell without any gives it none.
        a, c = self._vectors.get("cell.A", bias[:0]), self._vectors.get("cell.C")
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
