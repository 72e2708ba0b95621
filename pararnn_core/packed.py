"""The serving form of the model: weights packed for this machine, all arithmetic in native code.

T rows of a packed batch, d hidden size. A row's bits depend on its sequence alone, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.batch import Batch
from pararnn_core.cells import ParaGRU, ParaLSTM
from pararnn_core.config import ModelConfig
from pararnn_core.layers import Block, Linear, RMSNorm
from pararnn_core.ops import PackedBlockLinear, PackedLinear
from pararnn_core.state import RecurrentState


class PackedBlock(NamedTuple):
    """A block's weights: matrices packed, vectors float32."""

    norm: Tensor
    in_proj: PackedLinear
    conv_weight: Tensor
    conv_bias: Tensor
    cell_input: PackedBlockLinear
    a: Tensor
    c: Tensor | None
    gate_norm: Tensor
    out_proj: PackedLinear
    residual_scale: Tensor | None
    mlp_norm: Tensor
    gate_proj: PackedLinear
    up_proj: PackedLinear
    down_proj: PackedLinear


class PackedModel:
    """Everything `forward` reads, in the order in which it reads it."""

    def __init__(
        self,
        config: ModelConfig,
        embedding: Tensor,
        blocks: Sequence[Block],
        norm: RMSNorm,
        head: Linear | None,
        *,
        release: bool,
    ) -> None:
        """`head` None: tied to `embedding`. `release` drops each matrix from its module once it is packed."""
        self.config = config
        self.embedding = embedding
        self.blocks = tuple(pack_block(block, release) for block in blocks)
        self.norm = _vector(norm.weight)
        self.head = ops.pack_linear(embedding.detach()) if head is None else _pack(head, release)

    def run(self, batch: Batch, state: RecurrentState) -> Tensor:
        """The residual stream after the last block (T, d); cell and conv states move on in place."""
        x = ops.embedding(batch.tokens, self.embedding)
        for block, (cell_state, conv_state) in zip(self.blocks, state.layers, strict=True):
            x = self._mix(x, block, batch, cell_state, conv_state)
            x = self._mlp(x, block)
        return x

    def final_norm(self, x: Tensor) -> Tensor:
        """x (M, d) -> (M, d)."""
        return ops.rms_norm(x, self.norm, self.config.norm_eps)

    def _mix(self, x: Tensor, w: PackedBlock, batch: Batch, cell_state: Tensor, conv_state: Tensor) -> Tensor:
        config, eps = self.config, self.config.norm_eps
        _, cu_seqlens, slots, has_initial_state, *_ = batch
        v, g = ops.linear(ops.rms_norm(x, w.norm, eps), w.in_proj).chunk(2, dim=1)
        v = ops.causal_conv1d_(
            v,
            w.conv_weight,
            w.conv_bias,
            config.conv_activation,
            cu_seqlens,
            slots,
            has_initial_state,
            conv_state,
        )
        bx = ops.block_linear(v, w.cell_input)
        y = ops.recurrence_(config.cell, bx, w.a, w.c, cu_seqlens, slots, has_initial_state, cell_state)
        y = ops.gated_rms_norm(y, g, w.gate_norm, eps, config.gate_order)
        return ops.add_scaled(x, w.residual_scale, ops.linear(y, w.out_proj))

    def _mlp(self, x: Tensor, w: PackedBlock) -> Tensor:
        n = ops.rms_norm(x, w.mlp_norm, self.config.norm_eps)
        update = ops.linear(ops.silu_mul(ops.linear(n, w.gate_proj), ops.linear(n, w.up_proj)), w.down_proj)
        return ops.add_scaled(x, None, update) if self.config.mlp_residual else update

    def matrices(self) -> Iterator[tuple[str, PackedLinear | PackedBlockLinear]]:
        """Packed weights under the names of the parameters that they replace."""
        for i, block in enumerate(self.blocks):
            yield f"layers.{i}.in_proj.weight", block.in_proj
            yield f"layers.{i}.cell.B", block.cell_input
            yield f"layers.{i}.out_proj.weight", block.out_proj
            yield f"layers.{i}.mlp.gate_proj.weight", block.gate_proj
            yield f"layers.{i}.mlp.up_proj.weight", block.up_proj
            yield f"layers.{i}.mlp.down_proj.weight", block.down_proj
        if not self.config.tie_embeddings:
            yield "lm_head.weight", self.head


def pack_block(block: Block, release: bool) -> PackedBlock:
    """`release` drops the row-major matrices, one as soon as it is packed."""
    cell, mlp = block.cell, block.mlp
    return PackedBlock(
        norm=_vector(block.norm.weight),
        in_proj=_pack(block.in_proj, release),
        conv_weight=_vector(block.conv.weight),
        conv_bias=_vector(block.conv.bias),
        cell_input=_pack_cell_input(cell, release),
        a=_vector(cell.A),
        c=_vector(cell.C) if isinstance(cell, ParaLSTM) else None,
        gate_norm=_vector(block.gate_norm.weight),
        out_proj=_pack(block.out_proj, release),
        residual_scale=None if block.residual_scale is None else _vector(block.residual_scale),
        mlp_norm=_vector(block.mlp_norm.weight),
        gate_proj=_pack(mlp.gate_proj, release),
        up_proj=_pack(mlp.up_proj, release),
        down_proj=_pack(mlp.down_proj, release),
    )


def _vector(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.float32).contiguous()


def _pack(linear: Linear, release: bool) -> PackedLinear:
    packed = ops.pack_linear(linear.get_parameter("weight").detach())
    if release:
        del linear.weight
    return packed


def _pack_cell_input(cell: ParaGRU | ParaLSTM, release: bool) -> PackedBlockLinear:
    packed = ops.pack_block_linear(cell.get_parameter("B").detach(), _vector(cell.b))
    if release:
        del cell.B
    return packed
