"""Row operations: the work of a layer between its products, and its reference in torch.

T rows of a step, S sequences, d = D channels, K taps of the convolution. Arithmetic is float32; "narrow" is
the type of the rows that enter and leave products (see matrix.py).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core import ops


class RowOperations(Protocol):
    """The row operations. pararnn_core.ops has one CUDA kernel for each."""

    def add_rms_norm_(
        self,
        x: Tensor,
        update: Tensor | None,
        scale: Tensor | None,
        weight: Tensor,
        eps: float,
        dtype: torch.dtype,
        replaces: bool = False,
    ) -> Tensor:
        """See ops.add_rms_norm_."""

    def causal_conv1d_(
        self,
        v: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: str,
        cu_seqlens: Tensor,
        slots: Tensor,
        has_initial_state: Tensor,
        conv_state: Tensor,
    ) -> Tensor:
        """See ops.causal_conv1d_."""

    def gated_rms_norm(self, y: Tensor, gate: Tensor, weight: Tensor, eps: float, gate_order: str) -> Tensor:
        """See ops.gated_rms_norm."""

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """See ops.silu_mul."""


def row_operations_on(device: torch.device) -> RowOperations:
    """Return the kernels for a CUDA device, torch's operations elsewhere."""
    return ops if device.type == "cuda" else TorchRows()


class TorchRows:
    """The reference of the kernels in torch. Like them it reads no value back to the host."""

    def add_rms_norm_(
        self,
        x: Tensor,
        update: Tensor | None,
        scale: Tensor | None,
        weight: Tensor,
        eps: float,
        dtype: torch.dtype,
        replaces: bool = False,
    ) -> Tensor:
        """See ops.add_rms_norm_."""
        if update is not None:
            if replaces:
                x.copy_(update)
            else:
                x.copy_(x + update if scale is None else torch.addcmul(update.float(), x, scale))
        return _rms_norm(x, weight, eps).to(dtype)

    def causal_conv1d_(
        self,
        v: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: str,
        cu_seqlens: Tensor,
        slots: Tensor,
        has_initial_state: Tensor,
        conv_state: Tensor,
    ) -> Tensor:
        """See ops.causal_conv1d_."""
        starts, ends = cu_seqlens[:-1].long(), cu_seqlens[1:].long()
        is_fed = slots >= 0
        past = conv_state[slots.clamp(min=0).long()]
        past = torch.where((has_initial_state & is_fed)[:, None, None], past, 0.0)
        # The state holds rounded rows. Rounding all rows makes the result independent of chunks.
        rounded = v.to(conv_state.dtype)

        def value(owner: Tensor, row: Tensor) -> Tensor:
            """Return the input of sequence `owner` at `row`; rows before its first come from its state."""
            before = past[owner, (past.shape[1] + row - starts[owner]).clamp(0, past.shape[1] - 1)]
            return torch.where((row >= starts[owner])[:, None], rounded[row.clamp(min=0)], before)

        rows = torch.arange(len(v), device=v.device)
        owner = torch.searchsorted(ends, rows, right=True)
        out = v.new_zeros(v.shape, dtype=torch.float32) if bias is None else bias.expand_as(v)
        width = weight.shape[1]
        for tap in range(width):
            # The newest row needs no lookup. With a kernel of width 1 there would be no state to look in.
            met = value(owner, rows + tap - (width - 1)) if tap < width - 1 else rounded
            out = torch.addcmul(out, met.float(), weight[:, tap])
        if activation == "silu":
            out = F.silu(out)
        # A skipped sequence writes the same values to the same place as the first one that is not skipped.
        sequences = torch.arange(len(slots), device=v.device)
        writer = torch.where(is_fed, sequences, is_fed.int().argmax())
        tails = [value(writer, ends[writer] + back) for back in range(1 - width, 0)]
        if tails:
            conv_state.index_copy_(0, slots[writer].long(), torch.stack(tails, dim=1))
        return torch.where(is_fed[owner][:, None], out, 0.0).to(v.dtype)

    def gated_rms_norm(self, y: Tensor, gate: Tensor, weight: Tensor, eps: float, gate_order: str) -> Tensor:
        """See ops.gated_rms_norm."""
        opening = F.silu(gate.float())
        if gate_order == "gate_then_norm":
            return _rms_norm(y * opening, weight, eps).to(gate.dtype)
        return (_rms_norm(y, weight, eps) * opening).to(gate.dtype)

    def silu_mul(self, gate: Tensor, up: Tensor) -> Tensor:
        """See ops.silu_mul."""
        return (F.silu(gate.float()) * up.float()).to(gate.dtype)


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, eps)
