"""Tiny models that serve through DeviceModel on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pararnn_core.cells import ParaGRU, ParaLSTM
from pararnn_core.device.graphs import Captured, Capturer
from pararnn_core.device.solvers import SolverChoice
from pararnn_core.models.base import NewtonReport
from pararnn_core.models.pararnn.device_layer import Recurrence
from pararnn_core.models.pararnn.device_model import DeviceModel
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.solvers.newton import NewtonResult, newton_solve
from pararnn_core.state import RecurrentState

VARIANTS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "gru ragged": {
        "cell": "gru",
        "hidden_size": 21,
        "num_heads": 3,
        "intermediate_size": 37,
        "conv_kernel": 3,
        "gate_order": "norm_then_gate",
        "tie_embeddings": True,
    },
    "lstm ragged": {
        "cell": "lstm",
        "hidden_size": 14,
        "conv_kernel": 2,
        "conv_activation": "none",
        "gate_order": "norm_then_gate",
        "residual_scale": "none",
        "mlp_residual": False,
        "norm_eps": 1e-2,
    },
}


def on_device(
    model: ParaRNNForCausalLM, solvers: SolverChoice | None = None, capturer: Capturer | None = None
) -> ParaRNNForCausalLM:
    """The model, serving through DeviceModel from now on."""
    head = None if model.config.tie_embeddings else model.lm_head
    form = DeviceModel(model.config, model.embedding, model.blocks, model.norm, head, solvers, capturer)
    return model.serve_with(form)


def with_graphs(model: ParaRNNForCausalLM, capturer: FakeCapturer) -> ParaRNNForCausalLM:
    """The model on a device that has graphs, for the state pool whose decodes are to be captured."""
    served = on_device(model, capturer=capturer)
    capture = served.capture_decodes

    def capture_decodes(state: RecurrentState) -> None:
        capturer.state = state
        capture(state)

    served.capture_decodes = capture_decodes  # type: ignore[method-assign]  # replaced by the test
    return served


class FakeCapturer:
    """Keeps the work and does it when it is replayed, from the inputs and into the output of its capture.

    state: the pool that the work moves on, to be as before once it is recorded. refuses: whether all fails.
    """

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.state: RecurrentState | None = None
        self.captures = self.replays = 0

    def capture(self, work: Callable[[], Tensor]) -> Captured:
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        assert self.state is not None
        before = [pool.clone() for pool in self.state.tensors]
        output = work()
        for pool, content in zip(self.state.tensors, before, strict=True):
            pool.copy_(content)
        output.fill_(torch.nan)
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            output.copy_(work())

        return Captured(replay, output)


class TorchNewton:
    """A solver choice with the torch reference of Newton's method. asked: arguments of `choose`."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.results: list[NewtonResult] = []

    def choose(self, channels: int, longest: int) -> Recurrence:
        self.asked.append((channels, longest))
        return self._solve

    def take_report(self) -> NewtonReport | None:
        taken, self.results = self.results, []
        if not taken:
            return None
        return NewtonReport(
            max(result.iterations for result in taken),
            max(result.residual for result in taken),
            sum(result.fallbacks for result in taken),
        )

    def _solve(
        self,
        name: str,
        bx: Tensor,
        a: Tensor,
        c: Tensor | None,
        cu_seqlens: Tensor,
        slots: Tensor,
        has_initial_state: Tensor,
        state: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        bx = bx.float() if bias is None else bx + bias
        cell = _cell(name, bx.shape[2])
        parameters = {"A": a} if c is None else {"A": a, "C": c}
        for key, value in parameters.items():
            setattr(cell, key, torch.nn.Parameter(value))
        held = (has_initial_state & (slots >= 0))[:, None, None]
        entry = torch.where(held, state[slots.clamp(min=0).long()], 0.0)
        states, result = newton_solve(cell.advance, cell.linearize, bx, entry, cu_seqlens, 16, cell.newton)
        self.results.append(result)
        for sequence, slot in enumerate(slots.tolist()):
            if slot >= 0:
                state[slot] = states[int(cu_seqlens[sequence + 1]) - 1]
        return states[:, -1]


@functools.cache
def _cell(name: str, channels: int) -> ParaGRU | ParaLSTM:
    return (ParaLSTM if name == "lstm" else ParaGRU)(channels, channels)
