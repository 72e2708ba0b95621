"""The serving form of a model on a device: from tokens to logits over a batch of slots.

It shares the matrices of its modules. Between the transfer of a step's plan and its logits the host neither
reads from the device nor waits for it. So a decode can be recorded in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pararnn_core.device.arguments import StepArguments, check_arguments, with_hidden
from pararnn_core.device.decode_plan import DecodePlanner
from pararnn_core.device.graphs import Capturer, CudaCapturer, DecodeGraphs, bucket_of
from pararnn_core.device.matrix import DeviceMatrix, HoldsMatrix
from pararnn_core.device.plan import StepInputs, plan_step
from pararnn_core.device.rows import row_operations_on
from pararnn_core.device.solvers import Recurrence, SolverChoice, solvers_on
from pararnn_core.device.stages import StageClock, unmeasured
from pararnn_core.models.base import NewtonReport
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.device_layer import DeviceLayer, Mark, Norm, vector
from pararnn_core.models.pararnn.device_memory import step_bytes
from pararnn_core.models.pararnn.layers import Block, RMSNorm
from pararnn_core.models.pararnn.state_layout import CELL, CONV, LAST_HIDDEN, state_parts
from pararnn_core.ops import PackedMatrix
from pararnn_core.state.state import RecurrentState


class DeviceModel:
    """The ServingModel of a device. A row's result may change slightly with the other rows of its batch."""

    def __init__(
        self,
        config: ModelConfig,
        embedding: HoldsMatrix,
        blocks: Sequence[Block],
        norm: RMSNorm | None,
        head: HoldsMatrix | None,
        solvers: SolverChoice | None = None,
        capturer: Capturer | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """All weights must be on one device. head: None is tied to `embedding`.

        solvers, capturer: None takes those of the device
        """
        self.config = config
        self.fingerprint = fingerprint
        self.device = blocks[0].cell.b.device
        self.state_parts = state_parts(config, config.activation_dtype_on(self.device.type))
        self._embedding = DeviceMatrix(embedding.weight)
        self._rows = row_operations_on(self.device)
        self._layers = tuple(DeviceLayer(block, self._rows) for block in blocks)
        final = Norm(None if norm is None else vector(norm.weight), torch.float32)
        # Each layer ends with the norm of the next one, so that one kernel sums and normalises. The last
        # layer ends with the final norm, whose rows are kept in states.
        self._norms = (*(layer.norm for layer in self._layers), final)
        self._head = self._embedding if head is None else DeviceMatrix(head.weight)
        bias = getattr(head, "bias", None)
        self._head_bias = None if bias is None else vector(bias)
        self._solvers = solvers or solvers_on(self.device, config.cell, self._layers[0].norm.dtype)
        self._capturer = capturer or (CudaCapturer(self.device) if self.device.type == "cuda" else None)
        self._graphs: tuple[RecurrentState, DecodeGraphs] | None = None

    @property
    def hidden_size(self) -> int:
        """See ServingModel.hidden_size."""
        return self.config.hidden_size

    @property
    def weight_bytes(self) -> int:
        """Bytes of all matrices, which are shared with the modules."""
        head = 0 if self._head is self._embedding else self._head.nbytes
        return self._embedding.nbytes + sum(layer.nbytes for layer in self._layers) + head

    def step_bytes(self, num_tokens: int) -> int:
        """See ServingModel.step_bytes."""
        return step_bytes(self.config, num_tokens)

    def new_state(self, num_slots: int) -> RecurrentState:
        """See ServingModel.new_state."""
        return RecurrentState(self.state_parts, num_slots, self.device)

    def matrices(self) -> Iterator[tuple[str, PackedMatrix]]:
        """Return no packed matrix: all matrices are still in the modules."""
        return iter(())

    @torch.inference_mode()
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
        """See ServingModel.step. Arguments but `state` and `hidden` are on the host, logits on the device.

        If all sequences are skipped, the logits are 0.
        """
        state.check_parts(self.state_parts)
        if state.device != self.device:
            raise ValueError(f"state: is on {state.device}, but the model is on {self.device}")
        clock = None if stage_seconds is None else StageClock(stage_seconds, self.device)
        arguments = check_arguments(
            tokens.contiguous(),
            cu_seqlens.contiguous(),
            slots.contiguous(),
            None if has_initial_state is None else has_initial_state.contiguous(),
            None if logits_indices is None else logits_indices.contiguous(),
            self.config.vocab_size,
            state.num_slots,
        )
        num_logits = len(arguments.logits_indices)
        arguments = with_hidden(arguments, hidden_indices, hidden, self.hidden_size)
        # A graph has no gaps between stages in which a clock could wait.
        if clock is None and hidden is None and self._graphs is not None and self._graphs[0] is state:
            graphs = self._graphs[1]
            logits = graphs.step(arguments) if graphs.takes(arguments) else self._launch(arguments, state)
        else:
            logits = self._launch(arguments, state, clock, hidden)
        if logits is None:
            return torch.zeros(num_logits, self.config.vocab_size, device=self.device)
        return logits

    @torch.inference_mode()
    def capture_decodes(self, state: RecurrentState) -> None:
        """Record CUDA graphs, with which decodes of this pool, and of no other, run from now on.

        Recording takes some seconds and does not change the pool's states. On a CPU nothing happens.
        """
        if self._capturer is not None:
            recurrence = self._solvers.choose(self.config.hidden_size, 1)
            planner = DecodePlanner(state.seen.shape[1])
            graphs = DecodeGraphs(
                lambda step: self.run(step, state, recurrence), planner, self.device, self._capturer
            )
            # Recording overwrites slot 0, which may hold a state.
            kept = state.snapshot(0)
            graphs.record(state.num_slots)
            state.restore(0, kept)
            # A graph reads fixed addresses, so it serves this pool alone.
            self._graphs = state, graphs

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """Return True if `decode_ahead` can run `count` sequences of the pool."""
        return self._graphs is not None and self._graphs[0] is state and bucket_of(count) is not None

    @torch.inference_mode()
    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """See ServingModel.decode_ahead."""
        if self._graphs is None or not self.decodes_ahead(state, len(slots)):
            raise ValueError(
                f"slots: no graph runs {len(slots)} sequences of this pool; call capture_decodes first"
            )
        return self._graphs[1].step_from(ids, slots)

    def run(
        self,
        step: StepInputs,
        state: RecurrentState,
        recurrence: Recurrence,
        clock: StageClock | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Queue the work of a step whose plan is on the device. It is the same for all values of the plan.

        hidden: (K, d), to be filled from the last K rows of the plan's rows of logits.
        """
        mark: Mark = unmeasured if clock is None else clock.mark
        mark("embedding")
        x = self._embedding.rows(step.tokens)
        mark("norms")
        u = self._norms[0].after_update(self._rows, x, None, None, self.config.norm_eps)
        for i, layer in enumerate(self._layers):
            kept = step.kept if i == len(self._layers) - 1 else None
            states = state[CONV][i] if self.config.conv_kernel else None, state[CELL][i]
            x, u = layer.forward(x, u, step, *states, recurrence, mark, self._norms[i + 1], kept)
        mark("final rows")
        state[LAST_HIDDEN].index_copy_(0, step.homes, u[step.last_rows])
        _see(step, state.seen)
        rows = u[step.logits_rows]
        if hidden is not None:
            num_logits = len(rows) - len(hidden)
            hidden.copy_(rows[num_logits:])
            rows = rows[:num_logits]
        mark("head")
        return self._logits(rows)

    @torch.inference_mode()
    def head(self, state: RecurrentState, slots: Sequence[int]) -> Tensor:
        """See ServingModel.head."""
        state.check_parts(self.state_parts)
        return self._logits(state[LAST_HIDDEN][slots])

    def _logits(self, last_hidden: Tensor) -> Tensor:
        """Return logits (M, V) of last_hidden (M, d) float32, both on the device."""
        logits = self._head.product(last_hidden.to(self._head.narrow), torch.float32)
        return logits if self._head_bias is None else logits + self._head_bias

    def wait(self) -> None:
        """See ServingModel.wait."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def take_newton_report(self) -> NewtonReport | None:
        """See ServingModel.take_newton_report."""
        return self._solvers.take_report()

    def _launch(
        self,
        arguments: StepArguments,
        state: RecurrentState,
        clock: StageClock | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor | None:
        """Run a step without a graph. Returns None if all sequences are skipped."""
        plan = plan_step(arguments, state.seen.shape[1])
        if plan is None:
            return None
        recurrence = self._solvers.choose(len(plan.slots) * self.config.hidden_size, plan.longest)
        logits = self.run(plan.on(self.device), state, recurrence, clock, hidden)
        if clock is not None:
            clock.stop()
        return logits


def _see(step: StepInputs, seen: Tensor) -> None:
    """Set the bits of the tokens in seen (slots, ceil(V/8)), after clearing those of new sequences."""
    before = seen.index_select(0, step.homes)
    # A boolean index would have a size that depends on values, for which the host must wait.
    seen.index_copy_(0, step.homes, torch.where(step.has_initial_state[:, None], before, 0))
    flat = seen.view(-1)
    flat.index_copy_(0, step.seen_bytes, flat.index_select(0, step.seen_bytes) | step.seen_bits)
