"""The model and its state pool: one scheduled step in, sampled ids out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from pararnn_core.model import ParaRNNForCausalLM
from pararnn_core.sampler import NonFiniteLogits, Sampled, SampleRow, sample, token_logprobs
from pararnn_core.state import RecurrentState, StateSnapshot
from pararnn_server.batch import Batch, Draw, Score
from pararnn_server.running import Choice, Running
from pararnn_server.scheduler import ScheduledBatch


class StepResult(NamedTuple):
    """prefilled: requests whose prompt is fed.  broken: those for which the model gave NaN or infinity.

    scores: log-probabilities of the chunk's ids, after None for the first of a prompt.
    """

    prefilled: list[Running]
    scores: list[tuple[Running, list[Sampled | None]]]
    sampled: list[tuple[Running, Choice, Sampled]]
    broken: list[Running]


class Executor:
    """Slots hold what the last request left until `load`; `poison` makes a read of that show."""

    def __init__(self, model: ParaRNNForCausalLM, num_slots: int, poison: bool) -> None:
        self._model = model
        self._state = RecurrentState(model.config, num_slots)
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
        if self._poison:
            self._state.poison(slot)

    def run(self, scheduled: ScheduledBatch, requests: Mapping[str, Running]) -> StepResult:
        """States move on. Whatever raises leaves the states of the batch, and only those, undefined."""
        batch = Batch(scheduled, requests)
        logits = batch.logits(self._model, self._state)
        for running in batch.prefilled:
            self._share_state(running)
        scores = [(score.running, _scored(score, logits)) for score in batch.scores]
        sampled, broken = self._sample(logits, batch.draws)
        return StepResult(batch.prefilled, scores, sampled, broken)

    def _share_state(self, running: Running) -> None:
        """All choices go on from where the prompt ends."""
        first, *others = running.choices.values()
        for choice in others:
            self._state.copy(first.slot, choice.slot)

    def _sample(
        self, logits: Tensor, draws: list[Draw]
    ) -> tuple[list[tuple[Running, Choice, Sampled]], list[Running]]:
        rows = [draw.row for draw in draws]
        wanted = logits if rows == list(range(len(logits))) else logits[rows]
        try:
            sampled = sample(wanted, [self._sample_row(draw) for draw in draws])
        except NonFiniteLogits as error:
            broken = {draws[row].running.id: draws[row].running for row in error.rows}
            results, others = self._sample(logits, [draw for draw in draws if draw.running.id not in broken])
            return results, [*broken.values(), *others]
        return [(draw.running, draw.choice, one) for draw, one in zip(draws, sampled, strict=True)], []

    def _sample_row(self, draw: Draw) -> SampleRow:
        choice, params = draw.choice, draw.running.request.params
        seen = self._state.seen[choice.slot] if params.repetition_penalty != 1.0 else None
        return SampleRow(params, choice.index, choice.num_sampled, choice.counts, seen)


def _scored(score: Score, logits: Tensor) -> list[Sampled | None]:
    top_n = score.running.request.params.prompt_logprobs or 0
    block = logits[score.first_row : score.first_row + len(score.targets)]
    rows: list[Sampled | None] = [None] if score.first else []
    return [*rows, *token_logprobs(block, score.targets, top_n)]
