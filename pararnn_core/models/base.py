"""The interface between a model and all that serves it: the engine, generation, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pararnn_core.state.state import RecurrentState, StateParts


class NewtonReport(NamedTuple):
    """Solves since the last report: most updates, largest residual, units finished step by step."""

    iterations: int
    residual: float
    fallbacks: int


class ServingConfig(Protocol):
    """Sizes of a model that all architectures have."""

    @property
    def vocab_size(self) -> int:
        """Ids in the vocabulary."""

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a reply, if there is one."""

    @property
    def architecture(self) -> str:
        """The name that people know the architecture by."""

    @property
    def num_parameters(self) -> int:
        """The exact count."""

    @property
    def weight_type(self) -> str:
        """The type of the weights: float32, bfloat16, or integers such as int8."""


class ServingModel(Protocol):
    """A model that moves the states of many sessions on, by slots of a pool.

    S sequences of a packed batch, T tokens in all, V ids in the vocabulary.
    """

    @property
    def config(self) -> ServingConfig:
        """Sizes, vocabulary and end of sequence."""

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the checkpoint that it was loaded from, if it was."""

    @property
    def device(self) -> torch.device:
        """Where weights and pools are."""

    @property
    def state_parts(self) -> StateParts:
        """The layout of a session's state, as this device keeps it."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the matrices in the form in which `step` reads them."""

    def step_bytes(self, num_tokens: int) -> int:
        """Device memory that a step of so many tokens takes beside weights and states, at most.

        0 on a CPU, where a step's memory is not set aside beforehand.
        """

    def new_state(self, num_slots: int) -> RecurrentState:
        """A pool for `step`, on the model's device."""

    def step(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor,
        state: RecurrentState,
        has_initial_state: Tensor | None = None,
        logits_indices: Tensor | None = None,
        stage_seconds: Tensor | None = None,
    ) -> Tensor:
        """One packed batch of prefill chunks and decodes; `state` moves on in place by slot.

        tokens (T,) int32 or int64; cu_seqlens (S+1,) int32; slots (S,) int32, each once, -1 to skip a
        sequence (its logits mean nothing); has_initial_state (S,) bool, False starts from zeros whatever the
        slot holds, default all True; logits_indices (M,) rows of tokens, default the last of each sequence;
        stage_seconds (len(ops.STEP_STAGES),) float64, the time spent on each is added to it.
        Returns logits (M, V) float32. Raises ValueError naming the argument, before any state is touched.
        """

    def head(self, state: RecurrentState, slots: Sequence[int]) -> Tensor:
        """Logits (len(slots), V) after the last token of each slot, bit-equal to those that `step` gave."""

    def capture_decodes(self, state: RecurrentState) -> None:
        """Make decodes of this pool, and of no other, as fast as the device can, if it can do more."""

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """Return True if `decode_ahead` takes so many sequences of the pool."""

    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """`step` of one token a sequence, whose ids (S,) int64 the host does not know yet.

        ids: on the device, one below 0 stands for 0. slots: (S,) int32, on the host, none skipped.
        Returns logits (S, V). Raises ValueError unless `decodes_ahead`.
        """

    def wait(self) -> None:
        """Return once the device has done all that it was asked for."""

    def take_newton_report(self) -> NewtonReport | None:
        """Report the solves of `step` since the last call; None if there were none.

        Waits for the device.
        """
