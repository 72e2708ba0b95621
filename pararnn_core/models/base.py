"""The interface between a model and the code that runs it: the engine, generation, benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pararnn_core.state.state import RecurrentState, StateParts


class NewtonReport(NamedTuple):
    """Newton's solves since the last report: most updates, largest residual, units finished step by step."""

    iterations: int
    residual: float
    fallbacks: int


class ServingConfig(Protocol):
    """The sizes that models of all architectures have."""

    @property
    def vocab_size(self) -> int:
        """Ids in the vocabulary."""

    @property
    def hidden_size(self) -> int:
        """The width of a layer."""

    @property
    def num_hidden_layers(self) -> int:
        """The number of layers."""

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a reply, if there is one."""

    @property
    def architecture(self) -> str:
        """The architecture's name as users know it."""

    @property
    def num_parameters(self) -> int:
        """The exact count."""

    @property
    def weight_type(self) -> str:
        """The type of the weights: float32, bfloat16, or integers such as int8."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as a reader of config.json knows them."""


class ServingModel(Protocol):
    """A model that advances the states of many sessions, which are slots of a pool.

    S sequences of a packed batch, T tokens in all, V ids in the vocabulary.
    """

    @property
    def config(self) -> ServingConfig:
        """Sizes, vocabulary and end of sequence."""

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the model's checkpoint; None if it was not loaded from one."""

    @property
    def device(self) -> torch.device:
        """The device of weights and pools."""

    @property
    def state_parts(self) -> StateParts:
        """The layout of a session's state on this device."""

    @property
    def hidden_size(self) -> int:
        """Numbers of a final row, which the head reads."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the matrices in the form that `step` reads."""

    def step_bytes(self, num_tokens: int) -> int:
        """Return a bound of the device memory that a step of num_tokens needs beside weights and states.

        It is 0 on a CPU, where a step's memory is not reserved in advance.
        """

    def new_state(self, num_slots: int) -> RecurrentState:
        """Return a new pool for `step`, on the model's device."""

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
        """Run one packed batch of prefill chunks and decodes, and update `state` in place by slot.

        tokens: (T,) int32 or int64; cu_seqlens: (S+1,) int32
        slots: (S,) int32, each once; -1 skips a sequence, whose logits are then undefined
        has_initial_state: (S,) bool, False starts from zeros instead of the slot's state; default all True
        logits_indices: (M,) rows of tokens; default the last of each sequence
        stage_seconds: (len(ops.STEP_STAGES),) float64, to which the time of each stage is added
        hidden_indices: (K,) rows of tokens, whose final normed rows, which the head reads, are written to
            hidden (K, d) float32 on the model's device
        Returns logits (M, V) float32. Raises ValueError naming the argument, before any state changes.
        """

    def head(self, state: RecurrentState, slots: Sequence[int]) -> Tensor:
        """Return logits (len(slots), V) after the last token of each slot, bit-equal to those of `step`."""

    def capture_decodes(self, state: RecurrentState) -> None:
        """Prepare faster decodes of this pool, and of no other, if the device has any."""

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """Return True if `decode_ahead` can run `count` sequences of the pool."""

    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """Run a `step` of one token in each sequence, whose ids the host does not know yet.

        ids: (S,) int64 on the device; an id below 0 is taken as 0
        slots: (S,) int32 on the host, none skipped
        Returns logits (S, V). Raises ValueError unless `decodes_ahead`.
        """

    def wait(self) -> None:
        """Wait until the device has finished all work."""

    def take_newton_report(self) -> NewtonReport | None:
        """Return Newton's report since the last call; None if Newton solved nothing. Waits for the device."""
