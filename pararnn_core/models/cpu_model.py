"""The part of a ServingModel on a CPU that does not depend on the architecture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.ops import PackedMatrix
from pararnn_core.state.state import RecurrentState, StateParts


class CpuModel:
    """A model whose step is one native call. A subclass has its config and calls `_start`."""

    device = torch.device("cpu")

    def _start(
        self,
        native: ops.NativeModel,
        parts: StateParts,
        head: PackedMatrix,
        last_hidden: str,
        fingerprint: str | None,
        head_bias: Tensor | None = None,
    ) -> None:
        """last_hidden: the part of a state that the head reads; head_bias: (vocabulary,) float32"""
        self._native = native
        self.state_parts = parts
        self._head = head
        self._head_bias = None if head_bias is None else head_bias[None]
        self._last_hidden = last_hidden
        self.fingerprint = fingerprint

    @property
    def hidden_size(self) -> int:
        """See ServingModel.hidden_size."""
        return self._head.inputs

    def step_bytes(self, num_tokens: int) -> int:
        """See ServingModel.step_bytes."""
        return 0

    def new_state(self, num_slots: int) -> RecurrentState:
        """See ServingModel.new_state."""
        return RecurrentState(self.state_parts, num_slots)

    def step(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor,
        state: RecurrentState,
        has_initial_state: Tensor | None = None,
        logits_indices: Tensor | None = None,
        stage_seconds: Tensor | None = None,
        hidden_indices: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """See ServingModel.step. It is one native call."""
        state.check_parts(self.state_parts)
        return self._native.step(
            tokens.contiguous(),
            cu_seqlens.contiguous(),
            slots.contiguous(),
            None if has_initial_state is None else has_initial_state.contiguous(),
            None if logits_indices is None else logits_indices.contiguous(),
            state.tensors,
            stage_seconds,
            None if hidden_indices is None else hidden_indices.contiguous(),
            hidden,
        )

    @torch.inference_mode()
    def head(self, state: RecurrentState, slots: Sequence[int]) -> Tensor:
        """See ServingModel.head."""
        state.check_parts(self.state_parts)
        return ops.linear(state[self._last_hidden][slots], self._head, self._head_bias)

    def capture_decodes(self, state: RecurrentState) -> None:
        """Do nothing: a CPU has no graphs."""

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """Return False: a CPU does not run ahead of the host."""
        return False

    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """Raise ValueError, because `decodes_ahead` is False."""
        raise ValueError("decode_ahead needs a CUDA model")

    def wait(self) -> None:
        """Return at once, because a step is finished when its call returns."""

    def take_newton_report(self) -> None:
        """Return None: a CPU solves step by step."""
