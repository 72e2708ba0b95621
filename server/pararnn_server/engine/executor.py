"""The model and its state pool: one scheduled step in, sampled ids out.

With async scheduling the next step starts before the ids of this one are read. It takes them from the device,
so the states of its slots are one id ahead of the host. A shadow pool holds the states before that step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pararnn_core.models.base import NewtonReport, ServingModel
from pararnn_core.ops.devices import on_device
from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.sampler import Sampled, token_logprobs
from pararnn_core.sampling.sampling_table import SamplingTable
from pararnn_core.state import StateSnapshot
from pararnn_server.engine.batch import Batch, Draw, Fixed, Score
from pararnn_server.engine.pending_sample import PendingSample
from pararnn_server.engine.running import Choice, Running
from pararnn_server.engine.scheduler import ScheduledBatch
from pararnn_server.errors import ServerError


class StepResult(NamedTuple):
    """Outputs of one step.

    prefilled: requests whose prompt is fed.  broken: requests for which the model gave NaN or infinity.
    scores: log-probabilities of the chunk's ids, after None for the first of a prompt.
    newton: report of the solver of prompts, if one ran.
    sampled: ids of each choice in order, also those that its mask has fixed.
    refused: requests without a draw, since their token mask failed.
    """

    prefilled: list[Running]
    scores: list[tuple[Running, list[Sampled | None]]]
    sampled: list[tuple[Running, Choice, Sampled]]
    broken: list[Running]
    newton: NewtonReport | None = None
    refused: Sequence[tuple[Running, ServerError]] = ()


class Executor:
    """Runs steps of the model on the slots of its state pool.

    poison: fill freed slots with NaN, so that a read before `load` shows.
    """

    def __init__(self, model: ServingModel, num_slots: int, poison: bool) -> None:
        self._model = model
        # One slot more than requests have, for `extend`.
        self._state = model.new_state(num_slots + 1)
        # At the start, so that no reply waits for a recording.
        model.capture_decodes(self._state)
        self._shadow_state = model.new_state(num_slots) if model.decodes_ahead(self._state, 1) else None
        self._spare_slot = num_slots
        self._table = SamplingTable(num_slots, model.config.vocab_size, self._state.device)
        self._poison = poison
        self._in_flight: PendingSample | None = None

    @property
    def has_step_in_flight(self) -> bool:
        """True while a step runs that `finish_step` has to end."""
        return self._in_flight is not None

    @property
    def ids_in_flight(self) -> set[str]:
        """Requests of the in-flight step."""
        return set() if self._in_flight is None else self._in_flight.request_ids

    def load(self, slot: int, snapshot: StateSnapshot | None) -> None:
        """Set the slot to the snapshot, or to the state before any token. Not during an in-flight step."""
        if snapshot is None:
            self._state.reset(slot)
        else:
            self._state.restore(slot, snapshot)

    def snapshot(self, slot: int) -> StateSnapshot:
        """Copy the state of the slot after the last published id."""
        # The step in flight has moved these slots past the last published id.
        if self._shadow_state is not None and self._in_flight is not None and slot in self._in_flight.slots:
            return self._shadow_state.snapshot(slot)
        return self._state.snapshot(slot)

    def free(self, slot: int) -> None:
        """Mark the slot as unused until the next `load`."""
        self._table.clear(slot)
        if self._poison:
            self._state.poison(slot)

    def extend(self, snapshot: StateSnapshot, token_ids: Sequence[int]) -> StateSnapshot:
        """Return the state after more ids."""
        # The spare slot belongs to no request.
        slot = self._spare_slot
        self._state.restore(slot, snapshot)
        tokens = torch.tensor(token_ids, dtype=torch.int32)
        bounds = torch.tensor([0, len(tokens)], dtype=torch.int32)
        slots = torch.tensor([slot], dtype=torch.int32)
        no_rows = torch.empty(0, dtype=torch.int64)
        self._model.step(tokens, bounds, slots, self._state, logits_indices=no_rows)
        return self._state.snapshot(slot)

    def run(
        self, scheduled: ScheduledBatch, requests: Mapping[str, Running], allow_ahead: bool
    ) -> StepResult:
        """Run one step and sample from it. An error leaves the states of the batch undefined, and only those.

        allow_ahead: the next step may start now, with the same requests and no others.
        """
        batch = Batch(scheduled, requests)
        logits = batch.logits(self._model, self._state)
        if not len(logits):
            # A step that ended before the device is done would let the next ones pile up unseen.
            self._model.wait()
        for running in batch.prefilled:
            self._share_state(running)
        for draw in batch.draws:
            self._tell_sampler(draw)
        refused = self._set_masks(batch.draws)
        draws = [draw for draw in batch.draws if draw.running.id not in refused] if refused else batch.draws
        pending = self._draw(logits, draws) if draws else None
        newton = self._model.take_newton_report()
        scores = [(score.running, _scored(score, logits)) for score in batch.scores]
        fixed = [one for each in batch.fixed for one in _fixed_ids(each, logits)]
        # A step ahead would leave behind the choices that draw nothing now.
        sampled, broken = self._finish(pending, requests, allow_ahead and not batch.fixed)
        return StepResult(batch.prefilled, scores, [*fixed, *sampled], broken, newton, [*refused.values()])

    def finish_step(self, requests: Mapping[str, Running], allow_ahead: bool) -> StepResult:
        """Wait for the in-flight step and return its outputs without those of requests that ended."""
        pending, self._in_flight = self._in_flight, None
        return StepResult([], [], *self._finish(pending, requests, allow_ahead))

    def discard_step(self) -> None:
        """Forget the in-flight step."""
        self._in_flight = None

    def _share_state(self, running: Running) -> None:
        """Copy the state after the prompt to the slots of all choices."""
        first, *others = running.choices.values()
        for choice in others:
            self._state.copy(first.slot, choice.slot)

    def _tell_sampler(self, draw: Draw) -> None:
        """Start a choice in the sampler: at its first draw, and after ids that were not drawn."""
        choice, params = draw.choice, draw.running.request.params
        index = choice.num_sampled + draw.num_fixed
        is_known, choice.sampler_index = choice.sampler_index == index, index + 1
        # Without a mask every id is drawn, also by the steps that start ahead.
        if is_known or (choice.mask is None and index):
            return
        counts: Counter[int] = Counter()
        if params.presence_penalty or params.frequency_penalty:
            counts = Counter([*choice.reply.ids, *choice.forced.first(draw.num_fixed)])
        self._table.start(choice.slot, params, choice.index, index, counts)

    def _set_masks(self, draws: list[Draw]) -> dict[str, tuple[Running, ServerError]]:
        """Set the masks of the next ids. Return the requests whose mask failed, by id."""
        self._set_field_masks(draws)
        refused: dict[str, tuple[Running, ServerError]] = {}
        for running, choice, _, num_fixed in draws:
            if choice.mask is None or running.id in refused:
                continue
            try:
                choice.mask.apply(choice.slot, partial(self._set_mask, choice, num_fixed))
            except ServerError as error:
                refused[running.id] = running, error
        return refused

    def _set_mask(self, choice: Choice, num_fixed: int, slot: int, words: MaskWords | None) -> None:
        """Set a request's own mask, without the ids that its other fields keep out."""
        self._table.set_mask(slot, choice.restricted(words, num_fixed))

    def _set_field_masks(self, draws: list[Draw], num_unread: int = 0) -> None:
        """Set the masks of replies that min_tokens and banned sequences restrict, and nothing else.

        num_unread: ids of each reply that are drawn and not read yet.
        """
        for _, choice, *_ in draws:
            if choice.mask is not None:
                continue
            # The mask of a slot stays until the next one is set.
            changes = choice.banned is not None or (
                choice.min_tokens is not None
                and choice.min_tokens.changes_at(choice.num_sampled + num_unread)
            )
            if changes:
                self._table.set_mask(choice.slot, choice.restricted(None, num_unread=num_unread))

    def _seen(self, draws: list[Draw]) -> Tensor:
        """Return the ids that repetition_penalty counts, by slot."""
        seen = self._state.seen
        for _, choice, _, num_fixed in draws:
            if choice.window is None:
                continue
            if seen is self._state.seen:
                # The pool's own bits stay those of the whole context.
                seen = seen.clone()
            bitmap = choice.window.after(choice.forced.first(num_fixed))
            seen[choice.slot] = torch.from_numpy(bitmap).to(seen.device)
        return seen

    def _draw(self, logits: Tensor, draws: list[Draw]) -> PendingSample:
        rows = torch.tensor([draw.row for draw in draws])
        slots = torch.tensor([draw.choice.slot for draw in draws], dtype=torch.int32)
        return PendingSample(draws, logits, self._table.draw(logits, rows, slots, self._seen(draws)))

    def _finish(
        self, pending: PendingSample | None, requests: Mapping[str, Running], allow_ahead: bool
    ) -> tuple[list[tuple[Running, Choice, Sampled]], list[Running]]:
        if pending is None:
            return [], []
        # Before the ids of this step are read, so that the device never waits for the host.
        if allow_ahead:
            self._in_flight = self._run_ahead(pending, requests)
        found = [
            (draw, sampled)
            for draw, sampled in zip(pending.draws, pending.read(), strict=True)
            if _is_wanted(draw, requests)
        ]
        broken = {draw.running.id: draw.running for draw, sampled in found if sampled is None}
        wanted = [
            (draw.running, draw.choice, sampled)
            for draw, sampled in found
            if sampled is not None and draw.running.id not in broken
        ]
        return wanted, [*broken.values()]

    def _run_ahead(self, pending: PendingSample, requests: Mapping[str, Running]) -> PendingSample | None:
        """Start the next step of the choices that may continue. None if the model cannot do so yet."""
        places = [i for i, draw in enumerate(pending.draws) if _may_continue(draw, requests)]
        if self._shadow_state is None or not self._model.decodes_ahead(self._state, len(places)):
            return None
        draws = [pending.draws[i]._replace(row=row) for row, i in enumerate(places)]
        # The next mask of a choice needs the id that is only being drawn. The other rows wait with it: steps
        # without it would follow each other for as long as nobody arrives, and leave it behind.
        if any(draw.choice.needs_last_id for draw in draws):
            return None
        slots = torch.tensor([draw.choice.slot for draw in draws], dtype=torch.int32)
        # A reply may turn out to have ended with this id: its state is then the one in the shadow pool.
        self._shadow_state.take(self._state, slots)
        # The host has not read the ids yet: they stay on the device.
        ids = pending.ids
        if len(places) < len(ids):
            ids = ids.index_select(0, on_device(torch.tensor(places), ids.device))
        logits = self._model.decode_ahead(ids, slots, self._state)
        self._set_field_masks(draws, num_unread=1)
        return self._draw(logits, draws)


def _is_wanted(draw: Draw, requests: Mapping[str, Running]) -> bool:
    # A later request may have the id of one that ended during the step.
    return requests.get(draw.running.id) is draw.running and draw.choice.index in draw.running.choices


def _may_continue(draw: Draw, requests: Mapping[str, Running]) -> bool:
    """Return True if max_tokens allows another id after the one being drawn."""
    # Every other end follows from the id, which is not read yet.
    return _is_wanted(draw, requests) and draw.choice.num_sampled + 1 < draw.running.request.params.max_tokens


def _fixed_ids(fixed: Fixed, logits: Tensor) -> list[tuple[Running, Choice, Sampled]]:
    token_ids, top_n = fixed.token_ids, fixed.running.request.params.logprobs
    if top_n is None:
        sampled = [Sampled(token_id) for token_id in token_ids]
    else:
        block = logits[fixed.first_row : fixed.first_row + len(token_ids)].cpu()
        sampled = token_logprobs(block, token_ids, top_n)
    return [(fixed.running, fixed.choice, one) for one in sampled]


def _scored(score: Score, logits: Tensor) -> list[Sampled | None]:
    top_n = score.running.request.params.prompt_logprobs or 0
    block = logits[score.first_row : score.first_row + len(score.targets)].cpu()
    rows: list[Sampled | None] = [None] if score.first else []
    return [*rows, *token_logprobs(block, score.targets, top_n)]
