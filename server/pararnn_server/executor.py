"""The model and its state pool: one scheduled step in, sampled ids out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.device import NewtonReport
from pararnn_core.model import ParaRNNForCausalLM
from pararnn_core.sampler import Sampled, rows_logprobs, token_logprobs
from pararnn_core.sampling_table import SamplingTable
from pararnn_core.state import StateSnapshot
from pararnn_server.batch import Batch, Draw, Score
from pararnn_server.running import Choice, Running
from pararnn_server.scheduler import ScheduledBatch


class StepResult(NamedTuple):
    """prefilled: requests whose prompt is fed.  broken: those for which the model gave NaN or infinity.

    scores: log-probabilities of the chunk's ids, after None for the first of a prompt.
    newton: how the solver of prompts went, if one ran.
    """

    prefilled: list[Running]
    scores: list[tuple[Running, list[Sampled | None]]]
    sampled: list[tuple[Running, Choice, Sampled]]
    broken: list[Running]
    newton: NewtonReport | None = None


class Executor:
    """Slots hold what the last request left until `load`; `poison` makes a read of that show."""

    def __init__(self, model: ParaRNNForCausalLM, num_slots: int, poison: bool) -> None:
        self._model = model
        self._state = model.new_state(num_slots + 1)
        model.capture_decodes(self._state)
        self._spare_slot = num_slots
        self._table = SamplingTable(num_slots, model.config.vocab_size)
        self._poison = poison

    def load(self, slot: int, snapshot: StateSnapshot | None) -> None:
        """The slot stands at the snapshot, or before any token."""
        if snapshot is None:
            self._state.reset(slot)
        else:
            self._state.restore(slot, snapshot)

    def snapshot(self, slot: int) -> StateSnapshot:
        """A copy of the slot."""
        return self._state.snapshot(slot)

    def free(self, slot: int) -> None:
        """Nobody may read the slot before the next `load`."""
        self._table.clear(slot)
        if self._poison:
            self._state.poison(slot)

    def extend(self, snapshot: StateSnapshot, token_ids: Sequence[int]) -> StateSnapshot:
        """The state after more ids. In a slot of its own: no request's is touched."""
        slot = self._spare_slot
        self._state.restore(slot, snapshot)
        tokens = torch.tensor(token_ids, dtype=torch.int32)
        bounds = torch.tensor([0, len(tokens)], dtype=torch.int32)
        slots = torch.tensor([slot], dtype=torch.int32)
        no_rows = torch.empty(0, dtype=torch.int64)
        self._model.forward(tokens, bounds, slots, self._state, logits_indices=no_rows)
        return self._state.snapshot(slot)

    def run(self, scheduled: ScheduledBatch, requests: Mapping[str, Running]) -> StepResult:
        """States move on. Whatever raises leaves the states of the batch, and only those, undefined."""
        batch = Batch(scheduled, requests)
        logits = self._on_host(batch.logits(self._model, self._state))
        for running in batch.prefilled:
            self._share_state(running)
        scores = [(score.running, _scored(score, logits)) for score in batch.scores]
        sampled, broken = self._sample(logits, batch.draws)
        return StepResult(batch.prefilled, scores, sampled, broken, self._model.take_newton_report())

    def _on_host(self, logits: Tensor) -> Tensor:
        """Ids are drawn on the host, from a device's logits in one copy: that is what a step waits for.

        One without logits must not end before it is done either, or the next ones would pile up unseen.
        """
        if not len(logits):
            self._model.wait()
        return logits.cpu()

    def _share_state(self, running: Running) -> None:
        """All choices go on from where the prompt ends."""
        first, *others = running.choices.values()
        for choice in others:
            self._state.copy(first.slot, choice.slot)

    def _sample(
        self, logits: Tensor, draws: list[Draw]
    ) -> tuple[list[tuple[Running, Choice, Sampled]], list[Running]]:
        if not draws:
            return [], []
        for draw in draws:
            if not draw.choice.num_sampled:
                self._table.start(draw.choice.slot, draw.running.request.params, draw.choice.index)
        rows = torch.tensor([draw.row for draw in draws])
        slots = torch.tensor([draw.choice.slot for draw in draws], dtype=torch.int32)
        tokens = self._table.sample(logits, rows, slots, self._state.seen)
        broken = {}
        if min(tokens) < 0:
            broken = {
                draw.running.id: draw.running for draw, token in zip(draws, tokens, strict=True) if token < 0
            }
            whole = [i for i, draw in enumerate(draws) if draw.running.id not in broken]
            draws, tokens = [draws[i] for i in whole], [tokens[i] for i in whole]
        sampled = _with_logprobs(logits, draws, tokens)
        return [(draw.running, draw.choice, one) for draw, one in zip(draws, sampled, strict=True)], [
            *broken.values()
        ]


def _with_logprobs(logits: Tensor, draws: list[Draw], tokens: list[int]) -> list[Sampled]:
    """The ids, with log-probabilities where the request wants them."""
    sampled = [Sampled(token) for token in tokens]
    wanted = [i for i, draw in enumerate(draws) if draw.running.request.params.logprobs is not None]
    found = rows_logprobs(
        logits,
        [draws[i].row for i in wanted],
        [tokens[i] for i in wanted],
        [draws[i].running.request.params.logprobs or 0 for i in wanted],
    )
    for i, one in zip(wanted, found, strict=True):
        sampled[i] = one
    return sampled


def _scored(score: Score, logits: Tensor) -> list[Sampled | None]:
    top_n = score.running.request.params.prompt_logprobs or 0
    block = logits[score.first_row : score.first_row + len(score.targets)]
    rows: list[Sampled | None] = [None] if score.first else []
    return [*rows, *token_logprobs(block, score.targets, top_n)]
