"""The model and its state pool: one scheduled step in, sampled ids out.

Where the model can, the next step is under way before the ids of this one are read: it feeds them from where
they were drawn. So the states of its slots are one id ahead of what the host knows. The states as they were
are kept beside, and it is those that anybody sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.base import NewtonReport, ServingModel
from pararnn_core.ops.devices import on_device
from pararnn_core.sampling.sampler import Sampled, token_logprobs
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.state import StateSnapshot
from pararnn_server.engine.batch import Batch, Draw, Score
from pararnn_server.engine.pending_sample import Flight
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.scheduler import ScheduledBatch


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

    def __init__(self, model: ServingModel, num_slots: int, poison: bool) -> None:
        self._model = model
        self._state = model.new_state(num_slots + 1)
        model.capture_decodes(self._state)
        self._kept = model.new_state(num_slots) if model.decodes_ahead(self._state, 1) else None
        self._spare_slot = num_slots
        self._table = SamplingTable(num_slots, model.config.vocab_size, self._state.device)
        self._poison = poison
        self._flight: Flight | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether a step is under way, whose end `land` waits for."""
        return self._flight is not None

    @property
    def ahead(self) -> set[str]:
        """Requests whose step is under way."""
        return set() if self._flight is None else self._flight.request_ids

    def load(self, slot: int, snapshot: StateSnapshot | None) -> None:
        """The slot stands at the snapshot, or before any token. Not while a step is under way."""
        if snapshot is None:
            self._state.reset(slot)
        else:
            self._state.restore(slot, snapshot)

    def snapshot(self, slot: int) -> StateSnapshot:
        """A copy of the slot as of the last id that was told."""
        if self._kept is not None and self._flight is not None and slot in self._flight.slots:
            return self._kept.snapshot(slot)
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
        self._model.step(tokens, bounds, slots, self._state, logits_indices=no_rows)
        return self._state.snapshot(slot)

    def run(self, scheduled: ScheduledBatch, requests: Mapping[str, Running], go_on: bool) -> StepResult:
        """States move on. Whatever raises leaves the states of the batch, and only those, undefined.

        go_on: whether the step after it may begin, with the same requests and no others. Then `is_ahead`.
        """
        batch = Batch(scheduled, requests)
        logits = batch.logits(self._model, self._state)
        if not len(logits):
            # A step that ended before the device is done would let the next ones pile up unseen.
            self._model.wait()
        for running in batch.prefilled:
            self._share_state(running)
        for draw in batch.draws:
            if not draw.choice.num_sampled:
                self._table.start(draw.choice.slot, draw.running.request.params, draw.choice.index)
        flight = self._draw(logits, batch.draws) if batch.draws else None
        newton = self._model.take_newton_report()
        scores = [(score.running, _scored(score, logits)) for score in batch.scores]
        sampled, broken = self._land(flight, requests, go_on)
        return StepResult(batch.prefilled, scores, sampled, broken, newton)

    def land(self, requests: Mapping[str, Running], go_on: bool) -> StepResult:
        """Ends the step that is under way; as `run`. Requests that are gone are none of it any more."""
        flight, self._flight = self._flight, None
        return StepResult([], [], *self._land(flight, requests, go_on))

    def drop(self) -> None:
        """Nobody wants the step that is under way."""
        self._flight = None

    def _share_state(self, running: Running) -> None:
        """All choices go on from where the prompt ends."""
        first, *others = running.choices.values()
        for choice in others:
            self._state.copy(first.slot, choice.slot)

    def _draw(self, logits: Tensor, draws: list[Draw]) -> Flight:
        rows = torch.tensor([draw.row for draw in draws])
        slots = torch.tensor([draw.choice.slot for draw in draws], dtype=torch.int32)
        return Flight(draws, logits, self._table.draw(logits, rows, slots, self._state.seen))

    def _land(
        self, flight: Flight | None, requests: Mapping[str, Running], go_on: bool
    ) -> tuple[list[tuple[Running, Choice, Sampled]], list[Running]]:
        if flight is None:
            return [], []
        if go_on:
            self._flight = self._follow(flight, requests)
        found = [
            (draw, sampled)
            for draw, sampled in zip(flight.draws, flight.land(), strict=True)
            if _is_wanted(draw, requests)
        ]
        broken = {draw.running.id: draw.running for draw, sampled in found if sampled is None}
        told = [
            (draw.running, draw.choice, sampled)
            for draw, sampled in found
            if sampled is not None and draw.running.id not in broken
        ]
        return told, [*broken.values()]

    def _follow(self, flight: Flight, requests: Mapping[str, Running]) -> Flight | None:
        """The next step of those that go on, whatever they drew. None if it cannot begin already."""
        places = [i for i, draw in enumerate(flight.draws) if _goes_on(draw, requests)]
        if self._kept is None or not self._model.decodes_ahead(self._state, len(places)):
            return None
        draws = [flight.draws[i]._replace(row=row) for row, i in enumerate(places)]
        slots = torch.tensor([draw.choice.slot for draw in draws], dtype=torch.int32)
        self._kept.take(self._state, slots)
        ids = flight.ids
        if len(places) < len(ids):
            ids = ids.index_select(0, on_device(torch.tensor(places), ids.device))
        logits = self._model.decode_ahead(ids, slots, self._state)
        return self._draw(logits, draws)


def _is_wanted(draw: Draw, requests: Mapping[str, Running]) -> bool:
    return requests.get(draw.running.id) is draw.running and draw.choice.index in draw.running.choices


def _goes_on(draw: Draw, requests: Mapping[str, Running]) -> bool:
    """Whether the id that is being drawn is not the last one that may be."""
    return _is_wanted(draw, requests) and draw.choice.num_sampled + 1 < draw.running.request.params.max_tokens


def _scored(score: Score, logits: Tensor) -> list[Sampled | None]:
    top_n = score.running.request.params.prompt_logprobs or 0
    block = logits[score.first_row : score.first_row + len(score.targets)].cpu()
    rows: list[Sampled | None] = [None] if score.first else []
    return [*rows, *token_logprobs(block, score.targets, top_n)]
